// Bad tokens cost their address time, and good ones from the same address get in.

import t from 'tap'
import type { Test } from 'tap'
import { FailedAttempts } from '../../src/app/auth/failed-attempts.ts'
import { Tickets } from '../../src/app/auth/tickets.ts'
import { Refusal } from '../../src/core/errors.ts'
import { PatternGrants } from '../../src/core/grants.ts'
import { ManualClock } from '../clock.ts'
import { RawHttp, requestOf } from '../hostile/raw.ts'
import { ALL, bearer, guarded, signed, token } from './harness.ts'

const PAUSE_MS = 5

class Door {
  readonly clock = new ManualClock()
  readonly attempts = new FailedAttempts(this.clock)
  /** What was verified, in order. */
  readonly verified: string[] = []
  readonly outcomes: Record<string, string> = {}

  /** Comes to the door. A name that begins with `bad` is not accepted. */
  come (name: string, { address = 'here', isGone = () => false }: { address?: string, isGone?: () => boolean } = {}): void {
    this.attempts.verify(address, isGone, async () => {
      this.verified.push(name)
      if (name.startsWith('bad')) throw new Refusal('UNAUTHENTICATED', 'no')
    }).then(() => { this.outcomes[name] = 'in' }, (error: Refusal) => { this.outcomes[name] = error.code })
  }

  async pass (ms: number): Promise<void> {
    for (let n = 0; n < ms; n++) {
      this.clock.advance(1)
      await this.clock.settle()
    }
  }
}

async function doorWithFailure (): Promise<Door> {
  const door = new Door()
  door.come('bad')
  await door.clock.settle()
  return door
}

t.test('nobody waits where every token is good', async t => {
  const door = new Door()
  for (let n = 0; n < 100; n++) door.come(`good ${n}`)
  await door.clock.settle()
  t.equal(door.verified.length, 100)
  t.equal(door.clock.pending, 0, 'and no timer runs')
})

t.test('a ticket or cookie of the gateway\'s own that counts no more makes nobody wait, one of somebody else\'s does', async t => {
  const clock = new ManualClock()
  const attempts = new FailedAttempts(clock)
  const used = new Set<string>()
  const tickets = new Tickets({
    store: { secret: async () => new Uint8Array(32), claim: async (name: string) => { used.add(name); return null }, recall: async (name: string) => used.has(name) ? { command: 'ticket', status: 'done', fingerprint: '', by: '' } : null } as never,
    clock,
    memorySeconds: 60
  })
  const claims = { issuer: null, subject: 'ada', grants: new PatternGrants({ subscribe: ['a'] }), expiresAt: Date.now() + 1000 }
  const refused = async (read: () => Promise<unknown>, code: string): Promise<number> => {
    await t.rejects(async () => await attempts.verify('here', () => false, read), { code })
    return clock.pending
  }
  const [first, second] = [await tickets.issue(claims), await tickets.issue(claims)]
  const pass = await tickets.use(await tickets.read(first.ticket, null), null)
  const cookie = await tickets.writePass(pass) ?? ''
  t.equal(await refused(async () => await tickets.read(first.ticket, null), 'TICKET_USED'), 0, 'used')
  const { now } = Date
  Date.now = () => now() + 2000
  try {
    t.equal(await refused(async () => await tickets.read(second.ticket, null), 'UNAUTHENTICATED'), 0, 'expired')
    t.equal(await refused(async () => await tickets.readPass(cookie), 'UNAUTHENTICATED'), 0, 'a cookie that has expired')
  } finally {
    Date.now = now
  }
  t.equal(await refused(async () => await tickets.read(cookie, null), 'UNAUTHENTICATED'), 1, 'a cookie is no ticket')
  clock.advance(PAUSE_MS)
  await clock.settle()
  t.equal(await refused(async () => await tickets.read(`${first.ticket.slice(0, -4)}AAAA`, null), 'UNAUTHENTICATED'), 1, 'a wrong signature')
})

t.test('after a bad token those of its address are verified one by one, in order, and a good one among them gets in', async t => {
  const door = await doorWithFailure()
  t.equal(door.outcomes.bad, 'UNAUTHENTICATED', 'the first is answered at once')
  for (let n = 0; n < 10; n++) door.come(`bad ${n}`)
  door.come('good')
  door.come('neighbour', { address: 'there' })
  await door.clock.settle()
  t.same(door.verified, ['bad', 'neighbour'], 'other addresses do not wait')
  await door.pass(10 * PAUSE_MS)
  t.equal(door.verified.length, 12, 'one in each pause')
  await door.pass(PAUSE_MS)
  t.equal(door.outcomes.good, 'in')
  t.same(door.verified.slice(2), [...Array.from({ length: 10 }, (_, n) => `bad ${n}`), 'good'])
})

t.test('the line of an address ends when nobody waits any more', async t => {
  const door = await doorWithFailure()
  await door.pass(PAUSE_MS)
  t.equal(door.clock.pending, 0)
  door.come('good')
  await door.clock.settle()
  t.equal(door.outcomes.good, 'in')
})

t.test('who has gone is passed over', async t => {
  const door = await doorWithFailure()
  for (let n = 0; n < 500; n++) door.come(`bad ${n}`, { isGone: () => true })
  door.come('good')
  await door.pass(PAUSE_MS)
  t.same(door.verified, ['bad', 'good'])
})

t.test('a thousand may wait', async t => {
  const door = await doorWithFailure()
  for (let n = 0; n < 1001; n++) door.come(`bad ${n}`)
  await door.clock.settle()
  t.same(door.outcomes, { bad: 'UNAUTHENTICATED', 'bad 1000': 'RATE_LIMITED' })
  t.same(door.verified, ['bad'], 'the others wait for their turns')
  await door.pass(PAUSE_MS)
  t.equal(door.outcomes['bad 0'], 'UNAUTHENTICATED')
  door.come('good')
  door.come('one too many')
  await door.pass(1000 * PAUSE_MS)
  t.match(door.outcomes, { 'bad 999': 'UNAUTHENTICATED', good: 'in', 'one too many': 'RATE_LIMITED' }, 'each turn makes room for one')
})

async function knocks (t: Test, port: number, text: string): Promise<RawHttp> {
  const client = new RawHttp(port)
  t.teardown(() => client.cut())
  await client.send(requestOf('GET', '/api/rooms', { headers: bearer(text) }))
  return client
}

t.test('while bad tokens come without end from an address, good ones of that address are accepted, new ones too', async t => {
  const { port, gateway } = await guarded(t, { profile: 'SSE' })
  const known = token(ALL)
  t.equal((await (await knocks(t, port, known)).until(1))[0]?.status, 200)
  const over = new AbortController()
  let bad = 0
  const floods = Array.from({ length: 20 }, async (_, line) => {
    for (let n = 0; !over.signal.aborted; n++) {
      const client = await knocks(t, port, signed({ sub: `${line} ${n}` }, { secret: 'another secret' }))
      t.equal((await client.until(1))[0]?.status, 401)
      bad++
      client.cut()
    }
  })
  for (let n = 0; n < 10; n++) {
    t.equal((await (await knocks(t, port, token(ALL, { sub: `new ${n}` }))).until(1))[0]?.status, 200, 'a new one')
    t.equal((await (await knocks(t, port, known)).until(1))[0]?.status, 200, 'a known one')
  }
  over.abort()
  await Promise.all(floods)
  t.ok(bad > 20, `${bad} bad ones meanwhile`)
  t.equal(gateway.troubles.bounds.attempts, 0)
})
