// A process of its own that publishes numbered facts until it is told to stop, and says what happened, one line
// each. The tests starve and kill it. Every number is published twice at once under one idempotency key, and
// again after a refusal until it is taken, as a careful publisher does.
//
//   node --import tsx test/store/writer.ts <dir> <publishers> <bytes each> [ballast]
//
// Says `held n id` for what the log held, `open`, then `told n id`, `acked n id`, `refused n code`, `available true|false`,
// `loaded <epochs> <seam>`. Hears `free` (removes the file `ballast`), `stop`, and `die` (kill -9).

import { randomBytes } from 'node:crypto'
import { rmSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import { Refusal } from '../../src/core/errors.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { dataOf, fact } from './harness.ts'
import type { Entry } from '../../src/core/event.ts'
import type { Image } from '../../src/core/store.ts'

const [dir, publishers = '1', bytes = '100', ballast = ''] = process.argv.slice(2)
if (dir === undefined) throw new Error('which directory?')

/** Written at once and whole, however slow the listener: what was said before a kill -9 was said. */
function say (...words: unknown[]): void {
  let rest = Buffer.from(`${words.join(' ')}\n`)
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}
const numberOf = (entry: Entry): number => (dataOf(entry) as { n: number }).n

// Node ignores this signal and sees EFBIG instead; tap, where it runs the test, would have it end the process.
process.on('SIGXFSZ', () => {})

const quiet = (): void => {}
const store = await openEmbeddedStore({
  dataDir: dir,
  durability: 'fsync',
  historySize: 0,
  historyBytes: 0,
  historyTtlMs: 0,
  maxKeysPerRoom: 0,
  idempotencyTtlMs: 3_600_000,
  clock: systemClock,
  log: { info: quiet, warn: quiet, error: quiet }
})

let next = 0
await store.follow({
  load ({ history, lineage }: Image): void {
    for (const entry of history) {
      say('held', numberOf(entry), entry.id)
      next = Math.max(next, numberOf(entry) + 1)
    }
    say('loaded', lineage.epochs.length, lineage.epochs.at(-1)?.seam)
  },
  apply (entries): void {
    for (const entry of entries) say('told', numberOf(entry), entry.id)
  },
  begin () {},
  available: yes => say('available', yes)
})
say('open')

async function publish (): Promise<void> {
  const n = next++
  const drafts = [fact({ n, noise: randomBytes(Number(bytes) / 2).toString('hex') })]
  const once = { key: `n${n}`, fingerprint: String(n) }
  while (true) {
    const [first, twin] = await Promise.allSettled([store.append(drafts, once), store.append(drafts, once)])
    if (first.status !== twin.status) say('split', n)
    if (first.status === 'fulfilled') return say('acked', n, first.value[0])
    say('refused', n, first.reason instanceof Refusal ? first.reason.code : first.reason)
    await sleep(50)
  }
}

async function publishOn (): Promise<void> {
  while (true) await publish()
}

for (let count = Number(publishers); count > 0; count--) {
  void publishOn()
}

for await (const word of createInterface(process.stdin)) {
  if (word === 'free') rmSync(ballast)
  if (word === 'die') process.kill(process.pid, 'SIGKILL')
  if (word === 'stop') process.exit(0)
}
// Whoever started it is gone.
process.exit(0)
