// The verdict on a round: the checker's rules, and how often the three that count most were broken.

import { compareIds } from '../../src/core/id.ts'
import { readHistory } from './history.ts'

export interface Judgement {
  readonly lost: number
  readonly twice: number
  readonly disorder: number
  readonly failures: readonly string[]
}

/** Counts facts plainly, as somebody would who distrusts the checker: chains without a reset, and facts asked for after they were ready. */
export function judge (files: readonly string[]): Judgement {
  const facts = new Map<string, Array<{ at: number, id: string }>>()
  const invoked = new Map<number, { at: number, room: string }>()
  const chains = new Map<string, { ready: Map<string, number>, seen: Set<string>, last: Map<string, string>, isReset: boolean }>()
  let twice = 0
  let disorder = 0
  for (const { line } of readHistory(...files)) {
    if (line.f === 'publish' && line.type === 'invoke' && line.key === undefined) invoked.set(line.op, { at: line.t, room: line.room })
    if (line.f === 'publish' && line.type === 'ok' && invoked.has(line.op)) {
      const { at, room } = invoked.get(line.op) as { at: number, room: string }
      facts.set(room, [...facts.get(room) ?? [], { at, id: line.id }])
    }
    if (!('chain' in line)) continue
    const chain = chains.get(line.chain) ?? { ready: new Map(), seen: new Set(), last: new Map(), isReset: false }
    chains.set(line.chain, chain)
    if (line.f === 'ready') for (const room of line.rooms) if (!chain.ready.has(room)) chain.ready.set(room, line.t)
    if (line.f === 'reset') chain.isReset = true
    if (line.f !== 'recv' || line.key !== undefined) continue
    if (chain.seen.has(line.id)) twice++
    else if (compareIds(line.id, chain.last.get(line.room) ?? '0-0') <= 0) disorder++
    chain.seen.add(line.id)
    chain.last.set(line.room, line.id)
  }
  let lost = 0
  const examples: string[] = []
  for (const [name, { ready, seen, isReset }] of chains) {
    if (isReset) continue
    for (const [room, since] of ready) {
      for (const { at, id } of facts.get(room) ?? []) {
        if (at <= since || seen.has(id)) continue
        lost++
        if (examples.length < 3) examples.push(`${name} has not received ${id} of ${room}`)
      }
    }
  }
  const failures = [...examples, ...(lost > 0 ? [`${lost} lost`] : []), ...(twice > 0 ? [`${twice} twice`] : []), ...(disorder > 0 ? [`${disorder} out of order`] : [])]
  return { lost, twice, disorder, failures }
}
