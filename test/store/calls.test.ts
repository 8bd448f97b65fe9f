// Appends on their way to a Redis that does not answer: how long they wait, by a clock that is moved by hand.

import t from 'tap'
import { Calls } from '../../src/store/redis/log/calls.ts'
import { TIMEOUT_MS } from '../../src/store/redis/log/store.ts'
import { ManualClock } from '../clock.ts'
import { fact } from './harness.ts'

class Line {
  readonly clock = new ManualClock()
  /** Of each call, what was appended by it. */
  readonly sent: string[][] = []
  /** When each append was refused, and with what words. */
  readonly refused: Record<string, string> = {}
  readonly #names = new Map<unknown, string>()
  readonly #calls = new Calls({
    clock: this.clock,
    timeoutMs: TIMEOUT_MS,
    send: async appends => {
      this.sent.push(appends.map(({ drafts }) => this.#names.get(drafts) as string))
      return await new Promise(() => {})
    }
  })

  /** Asks for an append of its own turn. */
  async ask (name: string): Promise<void> {
    const drafts = [fact(name)]
    this.#names.set(drafts, name)
    this.#calls.append({ drafts, bytes: 100 }).catch((error: Error) => { this.refused[name] = `${this.clock.now()}: ${error.message}` })
    await this.clock.settle()
  }

  async pass (ms: number): Promise<void> {
    this.clock.advance(ms)
    await this.clock.settle()
  }
}

t.test('an append that Redis does not answer is refused when its time is over, which is within two seconds', async t => {
  t.ok(TIMEOUT_MS < 2000)
  const line = new Line()
  await line.ask('one')
  await line.pass(TIMEOUT_MS - 1)
  t.same(line.refused, {})
  await line.pass(1)
  t.same(line.refused, { one: `${TIMEOUT_MS}: Command timed out` })
  t.equal(line.clock.pending, 0)
})

for (const [asked, sent] of [[0, []], [1000, [['behind']]]] as const) {
  t.test(`one that waits behind others, asked for after ${asked} ms, has no longer than they, and ${sent.length === 0 ? 'is never sent' : 'is sent when there is room'}`, async t => {
    const line = new Line()
    const first = ['1', '2', '3', '4']
    for (const name of first) await line.ask(name)
    await line.pass(asked)
    await line.ask('behind')
    t.same(line.sent, first.map(name => [name]), 'four calls are under way')
    await line.pass(TIMEOUT_MS - asked)
    t.same(first.map(name => line.refused[name]), first.map(() => `${TIMEOUT_MS}: Command timed out`))
    t.same(line.sent.slice(first.length), sent)
    await line.pass(asked)
    t.equal(line.refused.behind, `${asked + TIMEOUT_MS}: Command timed out`)
    t.equal(line.clock.pending, 0)
  })
}
