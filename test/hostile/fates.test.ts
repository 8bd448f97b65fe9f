// A token's fate: random grants, rooms and actions over both profiles, against a matcher so simple that one can see that it is
// right. Where a run fails, its seed is in the message.

import fc from 'fast-check'
import { SignJWT } from 'jose'
import t from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { WireClient } from '../wire/client.ts'
import { PROFILES, startServer } from '../wire/harness.ts'
import type { Server } from '../wire/harness.ts'
import { frameOf, RawHttp, RawSocket, requestOf } from './raw.ts'
import type { Answer } from './raw.ts'

t.setTimeout(600_000)

const SECRET = 'the secret of this model of what tokens may do'
const RUNS = 200
const RETURNS = 60

type Right = 'subscribe' | 'publish' | 'control'
type Grants = Partial<Record<Right, string[]>>

/** Names that grants, joins and publishers draw from: few, so that they meet. */
const ROOMS = ['plant-1', 'plant-2', 'plant-1/line', 'plant', 'toString', '@public', '@system']
const COMMANDS = ['ping', 'stats', 'rooms', 'publish']
const pattern = (names: readonly string[]): fc.Arbitrary<string> => fc.oneof(
  fc.constantFrom(...names), fc.constant('*'), fc.constantFrom('', '**', 'plant-*', '*1', 'p*1', 'p*a*', '@*', '*public', '*@public', 'PLANT-1', 'plant-?', '.*', 'p.*'),
  // A name with a piece of it replaced by a star.
  fc.tuple(fc.constantFrom(...names), fc.nat(12), fc.nat(4)).map(([name, at, length]) => `${name.slice(0, at)}*${name.slice(at + length)}`)
)
const grants: fc.Arbitrary<Grants> = fc.record({
  subscribe: fc.array(pattern(ROOMS), { maxLength: 4 }), publish: fc.array(pattern(ROOMS), { maxLength: 4 }), control: fc.array(pattern(COMMANDS), { maxLength: 3 })
}, { requiredKeys: [] })

const action = fc.oneof(
  fc.record({ what: fc.constant('join' as const), rooms: fc.uniqueArray(fc.constantFrom(...ROOMS), { maxLength: 2 }) }),
  fc.record({ what: fc.constant('publish' as const), rooms: fc.array(fc.constantFrom(null, ...ROOMS.filter(room => !room.startsWith('@'))), { minLength: 1, maxLength: 3 }) }),
  fc.record({ what: fc.constant('control' as const), command: fc.constantFrom(...COMMANDS), room: fc.constantFrom(null, 'plant-1', 'plant-2') }),
  fc.record({ what: fc.constant('ticket' as const), rooms: fc.uniqueArray(fc.constantFrom(...ROOMS), { maxLength: 2 }) }),
  fc.record({ what: fc.constant('list' as const) })
)
type Action = typeof action extends fc.Arbitrary<infer Value> ? Value : never

/** Letter by letter: a star takes none, or one and goes on. */
function isLike (name: string, pattern: string): boolean {
  if (pattern === '') return name === ''
  if (pattern[0] === '*') return isLike(name, pattern.slice(1)) || (name !== '' && isLike(name.slice(1), pattern))
  return name[0] === pattern[0] && isLike(name.slice(1), pattern.slice(1))
}

function may (grants: Grants, right: Right, name: string): boolean {
  return (grants[right] ?? []).some(pattern => pattern === name || (pattern === '*' && name === '@public') || (!name.startsWith('@') && isLike(name, pattern)))
}

const mayAll = (grants: Grants, right: Right, names: readonly string[]): string => names.every(name => may(grants, right, name)) ? 'done' : 'FORBIDDEN'
const heard = (rooms: readonly string[]): readonly string[] => rooms.length === 0 ? ['@public'] : rooms

/** What the model says. */
function fateOf (grants: Grants, action: Action): string {
  switch (action.what) {
    case 'join': case 'ticket': return mayAll(grants, 'subscribe', heard(action.rooms))
    case 'publish': return mayAll(grants, 'publish', action.rooms.map(room => room ?? '@public'))
    case 'control': {
      const command = mayAll(grants, 'control', [action.command])
      return command === 'done' && action.command === 'publish' ? mayAll(grants, 'publish', [action.room ?? '@public']) : command
    }
    case 'list': return ROOMS.filter(room => !room.startsWith('@') && may(grants, 'subscribe', room)).sort().join()
  }
}

const eventOf = (room: string | null): object => ({ type: 'x', key: 'k', data: 1, ...(room === null ? {} : { room }) })
const wordOf = ({ status, body }: Answer): string => status < 300 ? 'done' : String(body?.code ?? status)

class Actor {
  readonly #server: Server
  readonly #profile: ProfileName
  readonly #authorization: string

  constructor (server: Server, profile: ProfileName, token: string) {
    this.#server = server
    this.#profile = profile
    this.#authorization = `Bearer ${token}`
  }

  /** What the gateway says. */
  async act (action: Action): Promise<string> {
    switch (action.what) {
      case 'join': return await this.#join(action.rooms, '', { Authorization: this.#authorization })
      case 'ticket': {
        const answer = await this.#ask('POST', '/api/ticket')
        if (answer.status !== 200) return `no ticket: ${wordOf(answer)}: ${String(answer.body?.message)}`
        const { body } = answer
        return await this.#join(action.rooms, `ticket=${String(body.ticket)}`, {})
      }
      case 'publish': return wordOf(await this.#ask('POST', '/api/events', action.rooms.map(eventOf)))
      case 'control': {
        const { command, room } = action
        const order = { command, args: command === 'publish' ? { event: eventOf(room) } : {} }
        return this.#profile === 'SSE' ? wordOf(await this.#ask('POST', '/api/control', order)) : await this.#say({ action: 'control', ...order }, '', { Authorization: this.#authorization })
      }
      case 'list': {
        const { body } = await this.#ask('GET', '/api/rooms')
        return (body.rooms as Array<{ room: string }>).map(({ room }) => room).filter(room => !room.startsWith('@')).join()
      }
    }
  }

  async #join (rooms: readonly string[], query: string, headers: Record<string, string>): Promise<string> {
    if (this.#profile === 'WEBSOCKET') return await this.#say({ action: 'join', ...(rooms.length === 0 ? {} : { rooms }) }, query, headers)
    const wanted = rooms.length === 0 ? '' : `rooms=${encodeURIComponent(rooms.join())}`
    return wordOf(await this.#exchange(requestOf('GET', `/api/events/stream?${[wanted, query].filter(Boolean).join('&')}`, { headers })))
  }

  async #say (message: object, query: string, headers: Record<string, string>): Promise<string> {
    const socket = await RawSocket.open(this.#server.port, { path: `/api/events/ws?${query}`, headers })
    await socket.send(frameOf({ payload: JSON.stringify({ ...message, ref: 'it' }) }))
    const answer = (): { event: string, data: { code?: string } } | undefined => socket.messages.find(({ ref }) => ref === 'it')
    await socket.until('an answer', () => answer() !== undefined)
    socket.cut()
    return answer()?.event === 'error' ? String(answer()?.data.code) : 'done'
  }

  async #ask (method: string, path: string, json?: unknown): Promise<Answer> {
    return await this.#exchange(requestOf(method, path, { headers: { Authorization: this.#authorization, ...(json === undefined ? {} : { 'Content-Type': 'application/json' }) }, body: json === undefined ? '' : JSON.stringify(json) }))
  }

  async #exchange (request: Buffer): Promise<Answer> {
    const client = new RawHttp(this.#server.port)
    await client.send(request)
    const [answer] = await client.until(1)
    client.cut()
    return answer as Answer
  }
}

for (const profile of PROFILES) {
  t.test(`${profile}: what a token may do is what its grants say, action by action`, async t => {
    const server = await startServer({ profile, authJwtSecret: SECRET, limits: { maxEventsPerSecondPerClient: 0 } })
    t.teardown(async () => await server.close())
    await server.publish(...ROOMS.filter(room => !room.startsWith('@')).map(eventOf))
    // Somebody who may hear one room hears that one alone, whatever the others do.
    const key = new TextEncoder().encode(SECRET)
    let subjects = 0
    // A subject each: limits count by subject.
    const signed = async (signalbox: Grants): Promise<string> => await new SignJWT({ signalbox }).setProtectedHeader({ alg: 'HS256' }).setSubject(String(subjects++)).setExpirationTime('1h').sign(key)
    const listener = await WireClient.open(profile, server.port, { rooms: ['plant-2'], headers: { Authorization: `Bearer ${await signed({ subscribe: ['plant-2'] })}` } })
    t.teardown(() => listener.cut())
    await listener.untilKind('ready')

    const counts: Record<string, number> = {}
    await fc.assert(fc.asyncProperty(grants, fc.array(action, { minLength: 1, maxLength: 5 }), async (grants, actions) => {
      const actor = new Actor(server, profile, await signed(grants))
      for (const action of actions) {
        const [fate, wanted] = [await actor.act(action), fateOf(grants, action)]
        counts[`${action.what} ${wanted === 'FORBIDDEN' ? 'refused' : 'done'}`] = (counts[`${action.what} ${wanted === 'FORBIDDEN' ? 'refused' : 'done'}`] ?? 0) + 1
        if (fate !== wanted) throw new Error(`${JSON.stringify(grants)}: ${JSON.stringify(action)} is ${fate}; the model says ${wanted}`)
      }
    }), { numRuns: RUNS, seed: Number(process.env.SIGNALBOX_FATES_SEED ?? Date.now() % 1_000_000) })
    t.ok(Object.keys(counts).length >= 9 && Object.values(counts).every(count => count >= 3), `both fates of each action: ${JSON.stringify(counts)}`)
    t.ok(listener.events.every(({ room }) => room === 'plant-2'))
  })
}

/** Rooms of a client that comes back, whether it names types, and what it may do then. */
const coming = fc.record({
  rooms: fc.uniqueArray(fc.constantFrom('plant-1', 'plant-2', 'plant', '@public'), { minLength: 1, maxLength: 2 }),
  isTyped: fc.boolean(),
  now: fc.record({ subscribe: fc.oneof(fc.constantFrom<string[]>(['*'], ['plant*'], ['plant*', '@public']), fc.array(pattern(ROOMS), { maxLength: 4 })) })
})

for (const profile of PROFILES) {
  t.test(`${profile}: who comes back with other grants gets of what was missed what they allow now, and nothing else`, async t => {
    const server = await startServer({ profile, authJwtSecret: SECRET, limits: { maxEventsPerSecondPerClient: 0, maxRoomSize: 0 } })
    t.teardown(async () => await server.close())
    const key = new TextEncoder().encode(SECRET)
    let runs = 0
    const open = async (signalbox: Grants, rooms: readonly string[], isTyped: boolean, cursor: string | null): Promise<WireClient> => {
      const token = await new SignJWT({ signalbox }).setProtectedHeader({ alg: 'HS256' }).setSubject(String(runs)).setExpirationTime('1h').sign(key)
      return await WireClient.open(profile, server.port, { rooms, ...(isTyped ? { types: ['x'] } : {}), cursor, headers: { Authorization: `Bearer ${token}` } })
    }
    const counts: Record<string, number> = {}
    await fc.assert(fc.asyncProperty(coming, async ({ rooms, isTyped, now }) => {
      const run = ++runs
      const before = await open({ subscribe: ['*'] }, rooms, isTyped, null)
      await before.untilKind('ready')
      before.cut()
      await server.publish(...['plant-1', 'plant-2', 'plant', undefined].map(room => ({ type: 'x', room, data: run })))
      const after = await open(now, rooms, isTyped, before.cursor)
      const isRefused = (): boolean => /^HTTP\/1.1 403/.test(after.head) || after.messages.some(message => message.kind === 'error' && message.data.code === 'FORBIDDEN')
      const isIn = (): boolean => after.messages.some(({ kind }) => kind === (profile === 'SSE' ? 'hello' : 'position') || kind === 'bundle')
      await after.until(() => isRefused() || isIn())
      if (!isRefused()) {
        await server.publish({ type: 'x', ...(rooms[0] === '@public' ? {} : { room: rooms[0] }), data: 'end' })
        await after.until(() => after.events.some(({ data }) => data === 'end'))
      }
      const hearsPublic = rooms.includes('@public') || (isTyped && may(now, 'subscribe', '@public'))
      const wanted = mayAll(now, 'subscribe', rooms) === 'FORBIDDEN' ? 'FORBIDDEN' : [...rooms.filter(room => room !== '@public'), ...(hearsPublic ? ['@public'] : [])].sort().join()
      const got = isRefused() ? 'FORBIDDEN' : after.events.filter(({ data }) => data === run).map(({ room }) => room ?? '@public').sort().join()
      after.cut()
      counts[wanted === 'FORBIDDEN' ? 'refused' : 'back'] = (counts[wanted === 'FORBIDDEN' ? 'refused' : 'back'] ?? 0) + 1
      if (got !== wanted) throw new Error(`${rooms.join()}${isTyped ? ' by types' : ''} with ${JSON.stringify(now)}: ${got}; the model says ${wanted}`)
    }), { numRuns: RETURNS, seed: Number(process.env.SIGNALBOX_FATES_SEED ?? Date.now() % 1_000_000) })
    t.ok((counts.back ?? 0) >= 5 && (counts.refused ?? 0) >= 5, JSON.stringify(counts))
  })
}
