import { Hearing } from '../hearing.ts'
import type { ChainRecord, LogEvent, Recording } from '../recording.ts'
import { nameOf, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'

const matches = (pattern: string, room: string): boolean =>
  room.startsWith('@') ? pattern === room || (pattern === '*' && room === '@public') : new RegExp(`^${pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`).test(room)

function atChain (recording: Recording, chain: ChainRecord): Violation[] {
  const found: Violation[] = []
  const hearing = new Hearing()
  const rights = new Map<string, boolean>()
  /** When a connection without a cursor began to hear its rooms. */
  const joinedAt = new Map<string, number>()
  let grants: readonly string[] | undefined
  const mayHear = (room: string): boolean => {
    let right = rights.get(room)
    if (right === undefined) rights.set(room, right = grants === undefined || grants.some(pattern => matches(pattern, room)))
    return right
  }
  const name = (what: string, line: number, { publish }: LogEvent): void => {
    found.push({ what: `${chain.name} ${what}`, count: 1, chain: chain.name, at: { file: chain.file, number: line }, ...(publish === null ? {} : { see: [placeOf(publish)] }) })
  }
  chain.walk(recording.events, {
    mark: mark => {
      hearing.take(mark)
      if (mark.f !== 'connect' || mark.type !== 'invoke') return
      grants = mark.grants
      rights.clear()
      joinedAt.clear()
      // On Redis the worker that it comes to may be a moment behind the one that acknowledged.
      if (mark.cursor === undefined && recording.run?.store !== 'redis') for (const room of hearing.rooms.keys()) joinedAt.set(room, mark.t)
    },
    received: (event, line) => {
      const { publish } = event
      if (!hearing.mayHear(event)) {
        // What was under way when it left may still come.
        const leftAt = hearing.leftAt.get(event.room)
        if (leftAt === undefined) name(`got ${nameOf(event)}, and hears ${[...hearing.rooms.keys()].join(', ')}`, line, event)
        else if (publish !== null && publish.invokedAt > leftAt) name(`got ${nameOf(event)}, published after it had left the room`, line, event)
      } else if (!mayHear(event.room)) {
        name(`got ${nameOf(event)}, and its token grants ${grants?.join(', ')}`, line, event)
      } else if (event.key === null && event.isReal && (publish?.okAt ?? Infinity) < (joinedAt.get(event.room) ?? -Infinity)) {
        name(`got ${nameOf(event)}, acknowledged before it joined`, line, event)
      }
    }
  })
  return found
}

export const isolation: Rule = {
  number: 8,
  name: 'isolation',
  holds: 'A chain gets nothing of a room that it has not joined, nothing beyond the rights of its token, and, with one process, no fact from before it joined as new.',
  * check (recording: Recording): Generator<Violation> {
    for (const chain of recording.chains.values()) yield * atChain(recording, chain)
  }
}
