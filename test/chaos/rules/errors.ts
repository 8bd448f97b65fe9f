import { CODES } from '../../../src/core/errors.ts'
import { isDuringFault } from '../recording.ts'
import type { Publish, Recording } from '../recording.ts'
import { nameOfPublish, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'

/** docs/protocol.md has them all; a test compares. 1000: a client's own. */
export const CLOSE_CODES: ReadonlySet<number> = new Set([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1012, 1013, 3000])
/** What a client finds where there is no answer: allowed during a fault only. */
const OWN = /^(E[A-Z]+|LOST|CLOSED|SILENT|UNREACHABLE|OFFLINE|timeout|cut|silent|no answer|socket hang up)$/

/** A client's own patience came to an end. The machine may be slow; whether the answer came at all is another rule's. */
const PATIENCE = /^(timeout|silent|SILENT|no answer)$/

/** INTERNAL is documented too, as a defect. */
const isDocumented = (code: string): boolean => (CODES as readonly string[]).includes(code) && code !== 'INTERNAL'

const isClear = (code: string): boolean => isDocumented(code) || /^[1-5]\d\d$/.test(code)

export const errors: Rule = {
  number: 11,
  name: 'clear errors',
  holds: 'Every refusal, bye and close code is a documented one. Without a fault at that time no outcome is unknown, and no connection fails without an answer.',
  * check (recording: Recording): Generator<Violation> {
    for (const publish of recording.publishes) {
      const strange = [...publish.codes, ...publish.whys].find(code => !isDocumented(code) && !OWN.test(code))
      if (strange !== undefined) yield { what: `the ${nameOfPublish(publish)} was refused with ${strange}, which is not documented`, count: 1, at: placeOf(publish) }
      const unanswered = publish.whys.find(why => !PATIENCE.test(why)) ?? publish.codes.find(code => OWN.test(code)) ?? (publish.endedAt === Infinity ? 'there was none' : undefined)
      if (unanswered !== undefined && !isDuring(recording, publish)) yield { what: `the answer to the ${nameOfPublish(publish)} is unknown (${unanswered}), and there was no fault`, count: 1, at: placeOf(publish) }
    }
    for (const chain of recording.chains.values()) {
      let invokedAt = 0
      const at = { file: chain.file, number: 0 }
      for (const mark of chain.marks) {
        if ((mark.f === 'connect' || mark.f === 'read') && mark.type === 'invoke') invokedAt = mark.t
        const code = mark.f === 'close' ? mark.reason : mark.f === 'connect' ? (mark.type === 'fail' ? mark.code : mark.type === 'info' ? mark.why : undefined) : mark.f === 'read' || mark.f === 'join' || mark.f === 'leave' ? mark.code : undefined
        if (code !== undefined && !isClear(code) && !OWN.test(code) && !BYES.has(code)) yield { what: `${chain.name} was told ${code}, which is not documented`, count: 1, chain: chain.name, at }
        if (mark.f === 'close' && mark.code !== undefined && !CLOSE_CODES.has(mark.code)) yield { what: `${chain.name} was closed with ${mark.code}, which is not documented`, count: 1, chain: chain.name, at }
        if (mark.f === 'connect' && mark.type === 'fail' && OWN.test(mark.code) && !PATIENCE.test(mark.code) && !isDuringFault(recording, invokedAt, mark.t)) yield { what: `${chain.name} could not connect (${mark.code}), and there was no fault`, count: 1, chain: chain.name, at }
      }
    }
  }
}

/** Reasons of `bye` besides the codes of refusals. */
const BYES: ReadonlySet<string> = new Set(['SLOW', 'DISCONNECTED', 'TOKEN_EXPIRED', 'SWITCHED'])

const isDuring = (recording: Recording, { invokedAt, endedAt }: Publish): boolean => isDuringFault(recording, invokedAt, endedAt)
