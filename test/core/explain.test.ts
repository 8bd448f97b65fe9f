// What `explain` says of events, held against what each connection was really sent: whatever the schedule of publishing, ticks,
// paces, stalls, joins, leaves, cuts and returns.

import fc from 'fast-check'
import t from 'tap'
import type { Explanation, SessionFate } from '../../src/core/explainer.ts'
import { compareIds } from '../../src/core/id.ts'
import type { Join } from '../../src/core/subscription.ts'
import { rig } from './rig.ts'
import type { Client, Rig, RigOptions } from './rig.ts'

const PUBLIC = '@public'
const ROOMS = ['a', 'b', PUBLIC]
const TYPES = ['x', 'y']
const CLIENTS = 3

type Step =
  | { do: 'fact', room: number, type: number }
  | { do: 'value', room: number, type: number, key: number, remove: boolean, size: number }
  | { do: 'burst', room: number, count: number }
  | { do: 'pass', ms: number }
  | { do: 'clog' | 'drain' | 'cut' | 'beat', client: number }
  | { do: 'resume', client: number, from: 'last' | 'first' | 'nonsense' | 'start' | 'fact' | 'nothing' }
  | { do: 'join', client: number, room: number, types: number }
  | { do: 'leave', client: number, room: number }
  | { do: 'pace', client: number, ms: number | null }
  | { do: 'ask', back: number }

const small = (max: number): fc.Arbitrary<number> => fc.nat({ max })
const client = small(CLIENTS - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('fact' as const), room: small(2), type: small(1) }) },
  { weight: 9, arbitrary: fc.record({ do: fc.constant('value' as const), room: small(2), type: small(1), key: small(1), remove: fc.constantFrom(true, false, false, false), size: small(300) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('burst' as const), room: small(2), count: small(12) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: small(250) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('clog' as const, 'drain' as const, 'beat' as const), client }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cut' as const), client }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('resume' as const), client, from: fc.constantFrom('last', 'last', 'last', 'first', 'nonsense', 'start', 'fact', 'nothing') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('join' as const), client, room: small(2), types: small(2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), client, room: small(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pace' as const), client, ms: fc.constantFrom(null, 0, 150, 400) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('ask' as const), back: small(9) }) }
)

interface Published {
  readonly id: string
  readonly room: string
  readonly type: string
  readonly key: string | null
  readonly isDeletion: boolean
}

/** A connection, and when its rooms were last joined and left, by how much it had received. */
interface Seat {
  readonly client: Client
  readonly joins: Join[]
  readonly left: Map<string, number>
}

const tell = (value: unknown): string => JSON.stringify(value)
const explain = async (r: Rig, event: string, session?: string): Promise<Explanation> => await r.gateway.operator.explainer.explain({ event, session, limit: 1000 })

/** By which message an event was received last; -1 where it was not. */
const receivedAt = ({ client }: Seat, id: string): number =>
  client.received.findLastIndex(message => message.kind === 'bundle' && message.events.some(event => event.id === id))

const resetAt = ({ client }: Seat, room: string): number =>
  client.received.findLastIndex(message => message.kind === 'reset' && message.rooms.includes(room))

const hears = ({ joins }: Seat, { room, type }: Published): boolean =>
  joins.some(join => (join.room === room && (join.types === undefined || join.types.includes(type))) || (room === PUBLIC && join.types?.includes(type) === true))

/** Checks what was said of an event at a connection; `all` are the events there are, `floor` is where history begins. */
function check (said: SessionFate, event: Published, seat: Seat, all: readonly Published[], floor: string): void {
  const { id, key, isDeletion, room } = event
  const at = receivedAt(seat, id)
  const newer = all.filter(other => other.key !== null && other.key === key && other.room === room && other.type === event.type && compareIds(other.id, id) > 0)
  const newest = newer.at(-1)
  const isReplaced = key !== null && !isDeletion && newer.length > 0
  const fail = (why: string): never => { throw new Error(`${why}: ${tell(said)} of ${tell(event)}; received ${tell(seat.client.received)}`) }
  if (said.fate === 'gone') {
    if (seat.client.session.state !== 'ended') fail('it has not ended')
    return check({ session: said.session, ...said.was }, event, seat, all, floor)
  }
  switch (said.fate) {
    case 'delivered':
      if (at < 0) fail('it was not sent')
      break
    case 'folded':
      if (!isReplaced) fail('nothing is newer')
      if (!newer.some(({ id }) => id === said.into)) fail('it is not newer')
      // The newest may be a deletion that history no longer holds.
      if (said.into !== newest?.id && !(newest?.isDeletion === true && compareIds(newest.id, floor) <= 0)) fail('it is not the newest')
      if (said.certain !== false && at >= 0) fail('it was sent')
      break
    case 'not heard':
      if (said.certain !== false && at >= 0) fail('it was sent')
      if (said.reason === 'before' ? !hears(seat, event) : hears(seat, event)) fail('the reason is another')
      break
    case 'pending':
      if (isReplaced) fail('it will not be sent any more')
      // Values are sent again after a reset, and where a room is joined again.
      if (said.certain !== false && at >= 0 && (key === null || isDeletion || at > Math.max(resetAt(seat, room), seat.left.get(room) ?? -1))) fail('it was sent')
      break
    case 'reset':
      if (!seat.client.received.some(message => message.kind === 'reset' || (message.kind === 'joined' && message.position === 'reset'))) fail('there was no reset')
      break
  }
  if (at >= 0 && key === null && said.fate !== 'delivered' && said.fate !== 'reset') fail('a fact was sent')
}

interface Tally {
  asked: number
  uncertain: number
  fates: Set<string>
}

async function play (steps: readonly Step[], options: RigOptions, tally: Tally): Promise<void> {
  const r = await rig(options)
  const { clock, gateway } = r
  const published: Published[] = []
  const seats: Seat[] = []
  const current: Array<Seat | null> = []
  const cursors: string[][] = Array.from({ length: CLIENTS }, () => [])

  const publish = async (room: string, type: string, key: string | null, data: unknown): Promise<void> => {
    const [id] = await gateway.publish([{ type, ...room === PUBLIC ? {} : { room }, ...key === null ? {} : { key }, data }]) as [string]
    published.push({ id, room, type, key, isDeletion: key !== null && data === null })
  }
  const connect = (index: number, joins: Join[], cursor: string | null): void => {
    const seat = { client: r.connect(joins, cursor), joins, left: new Map<string, number>() }
    seats.push(seat)
    current[index] = seat
  }
  const ask = async (events: readonly Published[]): Promise<Map<Published, Explanation>> => {
    const answers = new Map<Published, Explanation>()
    for (const event of events) {
      const answer = await explain(r, event.id)
      answers.set(event, answer)
      if (answer.event === null) {
        if (answer.reason !== 'trimmed' || compareIds(event.id, gateway.view.history.floor) > 0) throw new Error(`${tell(answer)} of ${tell(event)}`)
        continue
      }
      const bySession = new Map(answer.sessions.map(said => [said.session, said]))
      for (const seat of seats) {
        const { id, state } = seat.client.session
        const said = bySession.get(id) ?? (await explain(r, event.id, id)).sessions[0]
        if (said === undefined) throw new Error(`nothing is said of a session that is ${state}`)
        const { fate } = said.fate === 'gone' ? said.was : said
        if (bySession.get(id) === undefined && !(fate === 'not heard' && (state === 'ended' || seat.joins.length === 0))) throw new Error(`a session is missing: ${tell(said)}`)
        check(said, event, seat, published, gateway.view.history.floor)
        tally.asked++
        if ('certain' in said) tally.uncertain++
        tally.fates.add(said.fate)
      }
    }
    return answers
  }

  for (let index = 0; index < CLIENTS; index++) connect(index, [index === 0 ? { room: 'a' } : index === 1 ? { room: 'b', types: ['x'] } : { room: PUBLIC }], null)
  for (const s of steps) {
    const index = 'client' in s ? s.client : 0
    const seat = 'client' in s ? current[index] ?? null : null
    switch (s.do) {
      case 'fact': await publish(ROOMS[s.room] as string, TYPES[s.type] as string, null, 1); break
      case 'value': await publish(ROOMS[s.room] as string, TYPES[s.type] as string, `k${s.key}`, s.remove ? null : 'v'.repeat(s.size)); break
      case 'burst': for (let n = 0; n < s.count; n++) await publish(ROOMS[s.room] as string, 'x', null, n); break
      case 'pass': clock.advance(s.ms); break
      case 'clog': if (seat !== null) seat.client.clogged = true; break
      case 'drain':
        if (seat === null) break
        seat.client.clogged = false
        seat.client.drain()
        break
      case 'beat': seat?.client.session.beat(); break
      case 'cut':
        if (seat === null) break
        cursors[index]?.push(seat.client.cursorAfter() ?? 'nonsense')
        seat.client.session.end()
        current[index] = null
        break
      case 'resume': {
        if (seat !== null) break
        const joins = [...seats.findLast(({ client }) => client.session.state === 'ended')?.joins ?? [{ room: 'a' }]]
        const from = { last: cursors[index]?.at(-1), first: cursors[index]?.[0], nonsense: 'nonsense', start: '0-0', fact: published.find(({ key }) => key === null)?.id, nothing: null }[s.from] ?? null
        connect(index, joins.length === 0 ? [{ room: 'b' }] : joins, from)
        break
      }
      case 'pace': seat?.client.session.setPace(s.ms); break
      case 'join': {
        if (seat === null) break
        const join = { room: ROOMS[s.room] as string, ...s.types === 0 ? {} : { types: [TYPES[s.types - 1] as string] } }
        seat.joins.push(join)
        seat.client.join([join])
        break
      }
      case 'leave': {
        const room = ROOMS[s.room] as string
        if (seat === null) break
        seat.client.session.leave([room])
        for (const name of [room, PUBLIC]) seat.left.set(name, seat.client.received.length - 1)
        seat.joins.splice(0, Infinity, ...seat.joins.filter(join => join.room !== room))
        break
      }
      case 'ask': await ask(published.slice(-1 - s.back).slice(0, 3))
    }
    await clock.settle()
  }

  // In the end everything flows: what was pending comes, or what it was folded into, or a reset.
  const answers = await ask(published)
  const live = seats.filter(({ client }) => client.session.state !== 'ended')
  const before = new Map(live.map(seat => [seat, seat.client.received.length]))
  for (const { client } of live) client.session.setPace(0)
  for (let round = 0; round < 40; round++) {
    for (const { client } of live) {
      client.clogged = false
      client.drain()
    }
    clock.advance(250)
    await clock.settle()
  }
  for (const [event, { sessions }] of answers) {
    for (const said of sessions) {
      const seat = live.find(({ client }) => client.session.id === said.session)
      const awaited = said.fate === 'pending' ? event.id : said.fate === 'folded' && said.reason !== undefined ? said.into : null
      if (seat === undefined || awaited === null) continue
      const isReset = seat.client.received.slice(before.get(seat)).some(({ kind }) => kind === 'reset')
      if (!isReset && receivedAt(seat, awaited) < (before.get(seat) as number)) throw new Error(`${awaited} never came: ${tell(said)} of ${tell(event)}`)
    }
  }
  await ask(published)
  await r.close()
}

const RUNS = Number(process.env.FC_RUNS ?? 150)

t.test('whatever happens, what is said of an event is what its connections were sent', async t => {
  const tally: Tally = { asked: 0, uncertain: 0, fates: new Set() }
  await fc.assert(fc.asyncProperty(
    fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), fc.constantFrom(6, 100_000), fc.constantFrom(0, 100), fc.constantFrom(600, 100_000),
    async (steps, historySize, tickMs, maxBundleBytes) => {
      await play(steps, { historySize, limits: { tickMs, tickFloorMs: tickMs, maxQueuePerClient: 5, maxBundleBytes } }, tally)
    }), { numRuns: RUNS })
  t.strictSame([...tally.fates].sort(), ['delivered', 'folded', 'gone', 'not heard', 'pending', 'reset'], 'every fate was met')
  t.ok(tally.uncertain * 5 < tally.asked, `${tally.uncertain} of ${tally.asked} answers are uncertain`)
})
