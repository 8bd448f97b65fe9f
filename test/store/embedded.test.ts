// The embedded store: the contract, on disk and in memory, and what only a disk can do to it.

import t from 'tap'
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { appendFile, chmod, mkdir, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ClassicLevel } from 'classic-level'
import { entryOf } from '../../src/core/event.ts'
import { isAfter, millisOf, ORIGIN } from '../../src/core/id.ts'
import { GroupCommit } from '../../src/store/embedded/group-commit.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { historyKey, recordOf, boundsText, valueKey } from '../../src/store/embedded/record.ts'
import { contentOf, seal } from '../../src/store/embedded/seal.ts'
import { ManualClock } from '../clock.ts'
import { storeContract } from './contract.ts'
import { dataOf, deletion, fact, record, Recorder, tempDir, value } from './harness.ts'
import type { ContractLimits, Opened } from './harness.ts'
import type { Id } from '../../src/core/id.ts'
import type { Store } from '../../src/core/store.ts'
import type { EmbeddedOptions } from '../../src/store/embedded/store.ts'

const DAY = 86_400_000
const LIMITS: ContractLimits = { historySize: 100_000, historyBytes: 67_108_864, historyTtlMs: 300_000, maxKeysPerRoom: 10_000, idempotencyTtlMs: 3_600_000 }

interface Logged { level: string, details: Record<string, unknown>, message: string }

interface Place {
  readonly dataDir: string
  readonly clock: ManualClock
  readonly logged: Logged[]
}

const placeAt = (dataDir: string): Place => ({ dataDir, clock: new ManualClock(), logged: [] })

async function openAt (place: Place, options: Partial<EmbeddedOptions> = {}): Promise<Opened> {
  const { dataDir, clock, logged } = place
  const at = (level: string) => (details: object, message: string): void => { logged.push({ level, details: { ...details }, message }) }
  const store = await openEmbeddedStore({
    ...LIMITS, dataDir, durability: 'fsync', gatherMs: 0, clock, log: { info: at('info'), warn: at('warn'), error: at('error') }, ...options
  })
  const follower = new Recorder()
  await store.follow(follower)
  return {
    store,
    follower,
    pass: async ms => { clock.advance(ms) },
    turnBack: ms => clock.turn(-ms),
    async wasAhead (ms) {
      clock.turn(ms)
      await store.append([value('ahead', ms)])
      clock.turn(-ms)
    },
    async reopen (limits) {
      await store.close()
      return openAt(place, { ...options, ...limits })
    },
    async restart () {
      await store.close()
      return openAt(place, options)
    },
    close: () => store.close()
  }
}

storeContract(t, 'embedded store on disk', { lasts: true, open: async limits => openAt(placeAt(await tempDir(t)), limits) })
storeContract(t, 'embedded store on disk, DURABILITY=process', { lasts: true, open: async limits => openAt(placeAt(await tempDir(t)), { ...limits, durability: 'process' }) })
storeContract(t, 'embedded store in memory', { lasts: false, open: limits => openAt(placeAt(':memory:'), limits) })

t.test('one publisher that waits for each answer never waits for others', async t => {
  const place = placeAt(await tempDir(t))
  const { store } = await openAt(place, { gatherMs: 4 })
  for (let n = 0; n < 200; n++) await store.append([fact(n)])
  t.equal(place.clock.now(), 0)
  await store.close()
})

/** A store in which the second of two appends waits for others to write with, as it came while the first was written. */
async function gatheringAt (place: Place): Promise<{ store: Store, first: Id, second: Promise<Array<Id | null>> }> {
  const { clock } = place
  const { store } = await openAt(place, { gatherMs: 4 })
  const { pending } = clock
  const writing = store.append([fact(1)])
  // It is taken at the end of this turn of the loop, and written beyond it.
  await new Promise(resolve => setImmediate(resolve))
  const second = store.append([fact(2)])
  const [first] = await writing
  while (clock.pending === pending) await clock.settle()
  return { store, first: first as Id, second }
}

t.test('what the sockets bring in one turn of the event loop goes into one write', async t => {
  const { store } = await openAt(placeAt(await tempDir(t)))
  const appends: Array<Promise<unknown>> = []
  for (let n = 0; n < 3; n++) {
    appends.push(store.append([fact(n)]))
    // Between two sockets Node runs all that promises have caused.
    for (let microtasks = 0; microtasks < 20; microtasks++) await Promise.resolve()
  }
  await Promise.all(appends)
  t.equal(store.writes?.counts.reduce((sum, count) => sum + count, 0), 1)
  await store.close()
})

t.test('whoever came while a write was on its way waits a moment, and goes into one write with those who came in it', async t => {
  const place = placeAt(await tempDir(t))
  const { store, first, second } = await gatheringAt(place)
  place.clock.advance(3)
  const third = store.append([fact(3)])
  place.clock.advance(1)
  const moment = millisOf(first) + 4
  t.same([...await second, ...await third], [`${moment}-0`, `${moment}-1`])
  await store.close()
})

t.test('a store that is closed while a write waits for others writes at once', async t => {
  const place = placeAt(await tempDir(t))
  const { store, second } = await gatheringAt(place)
  await store.close()
  await second
  t.equal(place.clock.now(), 0)
  t.equal(place.clock.pending, 0)
  t.equal((await historyIn(place.dataDir)).length, 2)
})

t.test('how writes gather', async t => {
  const MS = 4
  const clock = new ManualClock()
  const gathering = new GroupCommit(clock, MS)
  /** A write of so many appends, behind which another one waits. @param late how many come late in the wait. @returns whether it waited */
  async function write (appends: number, late: number, bytes = 300 * appends): Promise<boolean> {
    gathering.came(1, 300)
    const waiting = gathering.wait(appends, bytes)
    const waits = clock.pending > 0
    clock.advance(MS - 1)
    for (let more = 1; more <= late; more++) gathering.came(appends + more, bytes + 300 * more)
    clock.advance(1)
    await waiting
    gathering.wrote(true)
    return waits
  }
  async function waitsIn (writes: number, late: number): Promise<number> {
    let waits = 0
    for (let n = 0; n < writes; n++) if (await write(2, late)) waits++
    return waits
  }

  t.notOk(await write(1, 2), 'nobody has come beside another yet')
  t.equal(await waitsIn(100, 2), 100, 'while others come late, each write waits')
  gathering.came(1, 300)
  const waiting = gathering.wait(2, 600)
  for (let appends = 3; appends <= 32; appends++) gathering.came(appends, 300 * appends)
  await waiting
  t.equal(clock.pending, 0, 'and ends as soon as there are 32')
  t.notOk(await write(32, 2), 'with 32 waiting there is enough to share')
  t.notOk(await write(1, 2, 30_000), 'or with a large batch')
  for (const late of [0, 1]) {
    const vain = await waitsIn(5000, late)
    t.ok(vain > 5 && vain < 20, `in vain, ${late} coming late, it was tried ${vain} times in 5,000 writes`)
    await waitsIn(1100, 2)
    t.equal(await waitsIn(100, 2), 100, 'and yet it is found when they come late again')
  }
  gathering.came(1, 300)
  clock.advance(1)
  const rest = gathering.wait(2, 600)
  clock.advance(MS - 1)
  await rest
  t.equal(clock.pending, 0, 'what came while a write was on its way has waited that long already')
})

t.test('a store opened in memory is empty and leaves nothing on disk', async t => {
  const place = placeAt(':memory:')
  const { store, follower } = await openAt(place)
  t.match(follower, { loads: 1, history: [], values: [], head: ORIGIN, floor: ORIGIN })
  t.match(store.name, /memory/)
  await store.close()
  t.notOk((await readdir('.')).includes(':memory:'))
})

t.test('what is appended before the follower comes is told to it', async t => {
  const place = placeAt(await tempDir(t))
  const store = await openEmbeddedStore({ ...LIMITS, dataDir: place.dataDir, durability: 'fsync', clock: place.clock, log: console })
  await store.append([fact(1), value('a', 2)])
  const follower = new Recorder()
  await store.follow(follower)
  t.same(follower.applied.map(dataOf), [1, 2])
  await t.rejects(store.follow(new Recorder()), /one follower/)
  await store.close()
})

t.test('more than may wait is refused with OVERLOADED, and taken once there is room', async t => {
  const { store, close } = await openAt(placeAt(await tempDir(t)), { maxWaitingBytes: 10_000 })
  const large = fact('x'.repeat(20_000))
  const first = store.append([large])
  await t.rejects(store.append([fact(1)]), { code: 'OVERLOADED', statusCode: 503 })
  await first
  await store.append([fact(1)])
  await close()
})

t.test('records that have run out leave the disk', async t => {
  const place = placeAt(await tempDir(t))
  const { store, clock } = { ...await openAt(place, { idempotencyTtlMs: 2000 }), clock: place.clock }
  for (let n = 0; n < 50; n++) {
    await store.append([value('a', n)], { key: `k${n}`, fingerprint: 'x' })
    await store.claim(`c${n}`, record(n))
  }
  clock.advance(1500)
  await store.settle('c1', record('anew'))
  clock.advance(1000)
  t.same(await store.recall('c1'), record('anew'))
  await store.close()
  const keys = await keysIn(place.dataDir)
  t.same(keys.filter(key => /^[oc]/.test(key)), ['cc1'])
  t.equal(keys.filter(key => key.startsWith('x')).length, 1)
})

t.test('a clock that is set ahead for good, or for a moment in which no id is given, ends nothing early', async t => {
  const place = placeAt(await tempDir(t))
  const { store, follower, clock } = { ...await openAt(place, { historyTtlMs: 2000, idempotencyTtlMs: 2000 }), clock: place.clock }
  const first = await store.append([fact(1)], { key: 'k', fingerprint: 'x' })
  clock.turn(DAY)
  clock.advance(1000)
  t.same(await store.append([fact(1)], { key: 'k', fingerprint: 'x' }), first)
  clock.turn(-DAY)
  const [second] = await store.append([fact(2)])
  t.equal(millisOf(second as string), millisOf(first[0] as string) + 1000, 'a moment without ids leaves no trace')
  clock.turn(DAY)
  const [third] = await store.append([fact(3)])
  t.equal(millisOf(third as string), millisOf(second as string) + DAY)
  t.same(follower.history.map(dataOf), [1, 2, 3])
  clock.advance(1500)
  await store.append([value('a', 1)])
  t.same(follower.history.map(dataOf), [2, 3])
  t.not((await store.append([fact(4)], { key: 'k', fingerprint: 'x' }))[0], first[0])
  await store.close()
})

t.test('what came before a clock was ahead for a moment, and an id was given, keeps its time too, also over a restart', async t => {
  for (const reopens of [false, true]) {
    const place = placeAt(await tempDir(t))
    let opened = await openAt(place, { historyTtlMs: 2000, idempotencyTtlMs: 2000 })
    const first = await opened.store.append([fact('before')], { key: 'k', fingerprint: 'x' })
    await opened.wasAhead(DAY)
    await opened.pass(1000)
    if (reopens) opened = await opened.reopen()
    t.same(await opened.store.append([fact('before')], { key: 'k', fingerprint: 'x' }), first)
    await opened.store.append([fact('behind')])
    t.same(opened.follower.history.map(dataOf), ['before', 'behind'])
    await opened.pass(1500)
    t.not((await opened.store.append([value('a', 1)], { key: 'k', fingerprint: 'x' }))[0], first[0])
    t.same(opened.follower.history.map(dataOf), ['behind'])
    await opened.store.close()
  }
})

t.test('the record of a command that came while the clock was ahead ends in its time, also over a restart', async t => {
  for (const reopens of [false, true]) {
    const place = placeAt(await tempDir(t))
    let opened = await openAt(place, { idempotencyTtlMs: 2000 })
    await opened.store.claim('before', record(1))
    place.clock.turn(DAY)
    await opened.store.claim('ahead', record(2))
    place.clock.turn(-DAY)
    place.clock.advance(1500)
    if (reopens) opened = await opened.reopen()
    t.same(await opened.store.recall('ahead'), record(2))
    if (!reopens) t.same(await opened.store.recall('before'), record(1))
    place.clock.advance(1000)
    t.equal(await opened.store.recall('before'), null)
    place.clock.advance(1100)
    t.equal(await opened.store.recall('ahead'), null)
    await opened.store.append([fact(1)])
    await opened.store.close()
    t.same((await keysIn(place.dataDir)).filter(key => /^[cx]/.test(key)), [], 'and leaves the disk')
  }
})

t.test('history that was trimmed leaves the disk', async t => {
  const place = placeAt(await tempDir(t))
  const { store } = await openAt(place, { historySize: 10 })
  for (let n = 0; n < 50; n++) await store.append([fact(n), value('a', n)])
  await store.close()
  t.equal((await historyIn(place.dataDir)).length, 10)
})

t.test('facts appended together share a record on the disk, in pages that stay small', async t => {
  const place = placeAt(await tempDir(t))
  let opened = await openAt(place)
  await opened.store.append(Array.from({ length: 100 }, (_, n) => fact(n)))
  await opened.store.append([fact('x'.repeat(100_000)), value('a', 1), fact('y'.repeat(100_000)), deletion('a')])
  const { image } = opened.follower
  opened = await opened.reopen()
  t.same(opened.follower.image, image)
  await opened.close()
  t.equal((await historyIn(place.dataDir)).length, 1 + 3)
})

t.test('a page whose first facts were trimmed gives the rest, and leaves the disk with its last', async t => {
  const place = placeAt(await tempDir(t))
  let opened = await openAt(place, { historySize: 15 })
  await opened.store.append(Array.from({ length: 10 }, (_, n) => fact(n)))
  await opened.store.append(Array.from({ length: 10 }, (_, n) => fact(10 + n)))
  for (let round = 0; round < 2; round++) {
    const { image } = opened.follower
    t.equal(dataOf(opened.follower.history[0]), 5)
    // There would be room for all of the page now.
    opened = await opened.reopen({ historySize: 100 })
    t.same(opened.follower.image, image)
  }
  await opened.close()
  t.equal((await historyIn(place.dataDir)).length, 2)
  opened = await openAt(place, { historySize: 15 })
  await opened.store.append(Array.from({ length: 5 }, (_, n) => fact(20 + n)))
  await opened.close()
  t.equal((await historyIn(place.dataDir)).length, 2, 'the first has gone')
  // Trimmed at opening, not by an append.
  opened = await openAt(place, { historySize: 7 })
  t.same(opened.follower.history.map(dataOf), [18, 19, 20, 21, 22, 23, 24])
  await opened.close()
  opened = await openAt(place, { historySize: 5 })
  await opened.close()
  t.equal((await historyIn(place.dataDir)).length, 1)
  t.same(place.logged.filter(({ level }) => level !== 'info'), [], 'none of this is taken for damage')
})

t.test('what was trimmed inside a page does not come back with larger limits', async t => {
  const place = placeAt(await tempDir(t))
  let opened = await openAt(place, { historyBytes: 400_000 })
  // Less than a page more than is trimmed in two writes: the third trims inside a page only.
  for (let n = 0; n < 40; n++) await opened.store.append(Array.from({ length: 100 }, (_, m) => fact(100 * n + m)))
  const { history } = opened.follower
  const gone = history.slice(0, 2015).reduce((sum, { size }) => sum + size, 0)
  const all = history.reduce((sum, { size }) => sum + size, 0)
  await opened.store.append([fact('x'.repeat(400_000 - all + gone - 300))])
  for (let round = 0; round < 3; round++) {
    place.clock.advance(1000)
    await opened.store.recall('in turn')
  }
  const { image } = opened.follower
  t.ok(dataOf(opened.follower.history[0]) as number > 2005)
  opened = await opened.reopen({ historyBytes: 0 })
  t.same(opened.follower.image, image)
  await opened.close()
})

t.test('the disk does not grow once history is full', async t => {
  const place = placeAt(await tempDir(t))
  const { store, close } = await openAt(place, { historySize: 1000, durability: 'process' })
  // Random, so that compression takes little away: 1200 x 100 facts of 300 B are 36 MB.
  for (let n = 0; n < 1200; n++) await store.append(Array.from({ length: 100 }, () => fact(randomBytes(100).toString('hex'))))
  await close()
  // LevelDB keeps a log of 4 MB and some tables that it has not compacted yet.
  let bytes = 0
  for (const name of await readdir(place.dataDir)) bytes += (await stat(join(place.dataDir, name))).size
  t.ok(bytes < 20_000_000, `${bytes} bytes`)
})

t.test('a store of format 1, where each fact had a record of its own, goes on in pages', async t => {
  const place = placeAt(await tempDir(t))
  const now = place.clock.wall()
  const facts = Array.from({ length: 30 }, (_, n) => entryOf(fact(n), `${now}-${n}`))
  await onLevel(place.dataDir, async level => {
    const batch = level.batch().put('!format', '1').put('!head', boundsText({ head: `${now}-29`, floor: `${now}-9`, ordinal: 30, trimmed: 10, sum: null, time: 0, writes: 0, systemFloor: null }))
    for (const [at, entry] of facts.entries()) if (at >= 10) batch.put(historyKey(entry.id), recordOf(entry, at + 1))
    await batch.write()
  })
  let opened = await openAt(place, { historySize: 20 })
  t.match(opened.follower, { floor: `${now}-9`, head: `${now}-29` })
  t.same(opened.follower.history, facts.slice(10))
  await opened.store.append(Array.from({ length: 5 }, (_, n) => fact(30 + n)))
  const { image } = opened.follower
  opened = await opened.reopen()
  t.same(opened.follower.image, image)
  t.same(opened.follower.history.map(dataOf), Array.from({ length: 20 }, (_, n) => 15 + n))
  await opened.close()
  t.equal((await historyIn(place.dataDir)).length, 15 + 1)
  await onLevel(place.dataDir, async level => t.equal(await level.get('!format'), '3'))
  t.same(place.logged.filter(({ level }) => level !== 'info'), [])
})

t.test('the latest 1000 epochs are kept', async t => {
  const place = placeAt(await tempDir(t))
  const first = await openAt(place)
  await first.close()
  const epochs = [...Array.from({ length: 999 }, (_, n) => ({ epoch: `epoch${n}`, seam: `${n}-0` })), ...first.follower.lineage.epochs]
  await onLevel(place.dataDir, level => level.put('!epochs', seal('!epochs', JSON.stringify(epochs))))
  const { follower, close } = await openAt(place)
  t.equal(follower.lineage.epochs.length, 1000)
  t.equal(follower.lineage.epochs[0]?.epoch, 'epoch1')
  await close()
})

t.test('a full history of 100,000 facts is there again after a restart', async t => {
  const place = placeAt(await tempDir(t))
  const { store } = await openAt(place)
  const noise = 'x'.repeat(100)
  for (let n = 0; n < 101; n++) {
    await store.append(Array.from({ length: 1000 }, (_, m) => fact({ n: n * 1000 + m, noise }, 'plant-1')))
  }
  await store.append(Array.from({ length: 1000 }, (_, n) => value(`host-${n}`, n, 'plant-1')))
  await store.close()
  const begun = performance.now()
  const { follower, close } = await openAt(place)
  t.comment(`opened in ${Math.round(performance.now() - begun)} ms`)
  t.equal(follower.history.length, 100_000)
  t.equal((dataOf(follower.history[0]) as { n: number }).n, 1000)
  t.equal(follower.values.length, 1000)
  t.match(place.logged.at(-1), { level: 'info', details: { facts: 100_000, values: 1000 } })
  await close()
})

t.test('a directory in use is refused in words', async t => {
  const place = placeAt(await tempDir(t))
  const writer = startWriter(t, place.dataDir)
  await writer.heard('open')
  await t.rejects(openAt(place), { message: /DATA_DIR .*data is in use by another running Signalbox: stop that one/ })
  await writer.kill()
  await (await openAt(place)).close()
})

t.test('a path that is no directory is refused in words', async t => {
  const file = await tempDir(t)
  await writeFile(file, 'not a directory')
  await t.rejects(openAt(placeAt(file)), { message: /is no directory/ })
  await t.rejects(openAt(placeAt(join(file, 'below'))), { message: /is no directory/ })
})

// Root may write everywhere.
if (process.getuid?.() !== 0 && process.platform !== 'win32') {
  t.test('a directory without rights is refused in words', async t => {
    const dir = await tempDir(t)
    await mkdir(dir, { mode: 0o500 })
    await t.rejects(openAt(placeAt(dir)), { message: /cannot be written: give the user/ })
    await chmod(dir, 0o700)
  })
}

t.test('a store of a newer format is refused in words and left as it is', async t => {
  const place = placeAt(await tempDir(t))
  await (await openAt(place)).close()
  await onLevel(place.dataDir, level => level.put('!format', '4'))
  await t.rejects(openAt(place), { message: /newer Signalbox \(format 4/ })
  await onLevel(place.dataDir, level => level.put('!format', '3'))
  const { follower, close } = await openAt(place)
  t.equal(follower.lineage.epochs.length, 2)
  await close()
})

t.test('what was acknowledged before kill -9 is there after it', async t => {
  const dir = await tempDir(t)
  const acked = new Map<string, string>()
  for (let round = 0; round < 4; round++) {
    const writer = startWriter(t, dir, { publishers: 8 })
    await writer.heard('acked', 50 + 40 * round)
    await writer.kill()
    for (const [n, id] of writer.said('acked')) acked.set(n as string, id as string)
    t.same(writer.said('split'), [])
  }
  const place = placeAt(dir)
  const { follower, close } = await openAt(place, { historyTtlMs: 0 })
  t.same(place.logged.filter(({ level }) => level !== 'info'), [], 'and nothing is taken for damage')
  const held = new Map(follower.history.map(entry => [String((dataOf(entry) as { n: number }).n), entry.id]))
  t.ok(acked.size > 300, `${acked.size} acknowledged`)
  t.same([...acked].filter(([n, id]) => held.get(n) !== id), [])
  t.equal(follower.history.length, held.size, 'and each once')
  t.equal(follower.lineage.epochs.length, 5)
  await close()
})

t.test('a log cut off anywhere, by a loss of power that took the witness too, opens with what is before the cut', async t => {
  for (const part of [0, 0.001, 0.3, 0.5, 0.77, 0.999]) {
    const { place, ids } = await filled(t, 40)
    await rm(join(place.dataDir, 'witness'))
    const log = await newest(place.dataDir, /^\d+\.log$/)
    await truncate(log, Math.floor((await stat(log)).size * part))
    const { store, follower, close } = await openAt(place)
    const { history, values, lineage } = follower
    t.same(history.map(({ id }) => id), ids.slice(0, history.length))
    t.ok(Math.abs(history.length - 40 * part) < 3, `${history.length} of 40 at ${part}`)
    t.equal(lineage.epochs.at(-1)?.seam, [...history, ...values].reduce((last, { id }) => isAfter(id, last) ? id : last, ORIGIN))
    await store.append([fact('goes on')])
    await close()
  }
})

t.test('garbage behind the log\'s end loses nothing', async t => {
  for (const garbage of [Buffer.alloc(5000), Buffer.alloc(5000, 'garbage'), Buffer.from([1, 2, 3])]) {
    const { place, ids } = await filled(t, 40)
    await appendFile(await newest(place.dataDir, /^\d+\.log$/), garbage)
    const { follower, close } = await openAt(place)
    t.same(follower.history.map(({ id }) => id), ids)
    await close()
  }
})

t.test('history with a hole in it begins behind the hole, and says how many are missing', async t => {
  const { place, ids, head: filledTo } = await filled(t, 400)
  const log = await newest(place.dataDir, /^\d+\.log$/)
  const bytes = await readFile(log)
  const middle = Math.floor(bytes.length / 3)
  bytes.writeUInt8(bytes.readUInt8(middle) ^ 0xff, middle)
  await writeFile(log, bytes)
  let opened = await openAt(place)
  const { history, floor, head } = opened.follower
  t.ok(history.length > 100 && history.length < 350, `${history.length} left`)
  t.same(history.map(({ id }) => id), ids.slice(-history.length))
  t.ok(isAfter(history[0]?.id ?? '', floor))
  t.ok(isAfter(floor, ids.at(-history.length - 2) ?? ''), 'who stands before the hole is reset')
  t.equal(head, filledTo)
  t.match(place.logged.find(({ message }) => /missing/.test(message)), { level: 'warn', details: { lost: Number } })
  t.ok(place.logged.some(({ message, details }) => /could not read/.test(message) && Number(details.bytes) > 0))
  const { image } = opened.follower
  opened = await opened.reopen()
  t.same(opened.follower.image, image)
  t.equal(place.logged.filter(({ message }) => /missing/.test(message)).length, 1, 'said once')
  await opened.close()
  t.equal((await historyIn(place.dataDir)).length, history.length, 'what is before it leaves the disk')
})

t.test('a page that is damaged or gone is a hole: history begins behind it', async t => {
  const torn = (text: string): string => text.slice(0, -5)
  const damages: Array<readonly [what: string, page: number, damage: (text: string) => string | null]> = [
    ['gone', 1, () => null],
    ['cut off at its end', 1, torn],
    ['cut off between two records', 1, text => text.slice(0, text.lastIndexOf('\nf '))],
    ['without one of its records', 1, text => text.replace(/\nf [^\n]*\n[^\n]*/, '')],
    ['garbage in the middle', 1, text => `${text.slice(0, 200)}\n\0\n${text.slice(200)}`],
    ['empty', 1, () => ''],
    ['the last, cut off', 2, torn],
    ['the last, gone', 2, () => null]
  ]
  for (const [what, page, damage] of damages) {
    const place = placeAt(await tempDir(t))
    let opened = await openAt(place, { historySize: 25 })
    for (let n = 0; n < 3; n++) await opened.store.append(Array.from({ length: 10 }, (_, m) => fact(10 * n + m)))
    const { head } = opened.follower
    await opened.close()
    await onLevel(place.dataDir, async level => {
      const [key, text] = (await level.iterator({ gte: 'h', lt: 'i' }).all())[page] as [string, string]
      const damaged = damage(contentOf(text))
      await (damaged === null ? level.del(key) : level.put(key, seal(key, damaged)))
    })
    opened = await openAt(place, { historySize: 25 })
    const { history, floor } = opened.follower
    const first = dataOf(history[0]) as number | undefined
    t.same(history.map(dataOf), Array.from({ length: history.length }, (_, n) => 30 - history.length + n), what)
    t.ok(page === 2 ? first === undefined : first !== undefined && first > 10, `${what}: begins at ${first}`)
    t.equal(opened.follower.head, head)
    t.equal(isAfter(history[0]?.id ?? `${head}0`, floor), true)
    const [told] = place.logged.filter(({ message }) => /missing/.test(message))
    t.ok(Number(told?.details.lost) >= 1, `${what}: ${told?.message}`)
    const { image } = opened.follower
    opened = await opened.reopen()
    t.same(opened.follower.image, image)
    t.equal(place.logged.filter(({ message }) => /missing/.test(message)).length, 1, 'said once')
    await opened.store.append([fact('goes on')])
    await opened.close()
  }
})

t.test('a value whose text was changed on the disk is left out, and the others of its room are not', async t => {
  const place = placeAt(await tempDir(t))
  let opened = await openAt(place)
  for (let n = 0; n < 1000; n++) await opened.store.append([value(`k${n}`, n, 'plant-1')])
  await opened.close()
  await onLevel(place.dataDir, async level => {
    const [key, text] = (await level.iterator({ gte: 's', lt: 't' }).all())[500] as [string, string]
    await level.put(key, text.replace(/"data":(\d)/, (_, digit: string) => `"data":${(Number(digit) + 1) % 10}`))
  })
  opened = await openAt(place)
  t.equal(opened.follower.values.length, 999)
  t.equal(opened.follower.lineage.epochs.length, 1, 'all are reset')
  t.equal(opened.store.figures?.damaged(), 1)
  t.match(opened.store.warnings, [/1 values are damaged.*all clients are reset/, /kept in .*damaged-/])
  const kept = (await readdir(place.dataDir)).filter(name => name.startsWith('damaged-'))
  t.equal(kept.length, 1)
  const { image } = opened.follower
  opened = await opened.reopen()
  t.same(opened.follower.image, image)
  t.match(opened.store.warnings, [/kept in .*damaged-/], 'a restart does not forget it')
  for (const name of kept) await rm(join(place.dataDir, name), { recursive: true })
  t.same(opened.store.warnings, [], 'the operator has seen to it')
  await opened.close()
})

t.test('a value that is gone, or an older one in its place, is noticed without the witness too', async t => {
  for (const damage of ['gone', 'older']) {
    const place = placeAt(await tempDir(t))
    const { store, close } = await openAt(place)
    await store.append([value('a', 'old'), value('b', 'present')])
    let old: [string, string] = ['', '']
    const keyOf = async (level: ClassicLevel): Promise<string> => (await level.keys({ gte: 's', lt: 't' }).all())[0] as string
    await close()
    await onLevel(place.dataDir, async level => { const key = await keyOf(level); old = [key, await level.get(key) as string] })
    const again = await openAt(place)
    await again.store.append([value('a', 'new')])
    await again.close()
    await onLevel(place.dataDir, async level => await (damage === 'gone' ? level.del(old[0]) : level.put(...old)))
    await rm(join(place.dataDir, 'witness'))
    const last = await openAt(place)
    t.same(last.follower.values.map(dataOf), [], 'which of them is not known')
    t.equal(last.follower.lineage.epochs.length, 1, damage)
    await last.close()
  }
})

t.test('a table that a killed process left half written is not taken for damage', async t => {
  const { place, ids } = await filled(t, 40)
  await (await openAt(place)).close()
  const table = await readFile(await newest(place.dataDir, /^\d+\.ldb$/))
  await writeFile(join(place.dataDir, '000999.ldb'), table.subarray(0, table.length / 2))
  const { store, follower, close } = await openAt(place)
  t.same(follower.history.map(({ id }) => id), ids)
  t.same(store.warnings, [])
  await close()
})

t.test('the damaged record of an Idempotency-Key is reported and counted when it is looked up', async t => {
  const place = placeAt(await tempDir(t))
  let opened = await openAt(place)
  const once = { key: 'k', fingerprint: 'x' }
  const [first] = await opened.store.append([fact(1)], once)
  await opened.close()
  await onLevel(place.dataDir, async level => await level.put('ok', (await level.get('ok') as string).replace('"x"', '"y"')))
  opened = await openAt(place)
  t.equal(opened.store.figures?.damaged(), 0)
  const [second] = await opened.store.append([fact(1)], once)
  t.ok(isAfter(second as string, first as string), 'it counts as new')
  t.equal(opened.store.figures?.damaged(), 1)
  t.match(opened.store.warnings, [/Idempotency-Keys .* cannot be read/])
  await opened.close()
})

t.test('a log whose end was cut off is declared: nobody resumes, no id comes again, and the log is kept', async t => {
  for (const part of [0, 0.5, 0.999, null]) {
    const { place, head } = await filled(t, 40)
    const log = await newest(place.dataDir, /^\d+\.log$/)
    await (part === null ? rm(log) : truncate(log, Math.floor((await stat(log)).size * part)))
    const { store, follower, close } = await openAt(place)
    t.match(follower, { history: [], values: [], floor: head, head }, 'no value but perhaps an older one is left')
    t.equal(follower.lineage.epochs.length, 1)
    t.match(store.warnings[0], /the end of the log is cut off, and values may be missing with it; .*\d+ facts? (?:is|are) missing/)
    const [id] = await store.append([fact('goes on')])
    t.ok(isAfter(id as string, head))
    await close()
    const kept = (await readdir(place.dataDir)).filter(name => name.startsWith('damaged-'))
    t.equal((await readdir(join(place.dataDir, kept[0] as string))).includes(basename(log)), part !== null)
  }
})

t.test('records of commands and Idempotency-Keys that are cut off the end of the log are declared, and nobody is reset for them', async t => {
  for (const hasBitFlipped of [false, true]) {
    const place = placeAt(await tempDir(t))
    const { store, follower } = await openAt(place)
    await store.append([fact(1), value('a', 1)])
    await store.claim('c1', record())
    const log = join(place.dataDir, (await readdir(place.dataDir)).find(name => name.endsWith('.log')) as string)
    const { size } = await stat(log)
    await store.settle('c1', record('done'))
    await store.close()
    if (hasBitFlipped) {
      const bytes = await readFile(log)
      bytes.writeUInt8(bytes.readUInt8(size + 20) ^ 1, size + 20)
      await writeFile(log, bytes)
    } else {
      await truncate(log, size)
    }
    const opened = await openAt(place)
    t.match(opened.store.warnings, [/records of Idempotency-Keys or commands are missing from its end/, /are kept in/])
    t.ok((opened.store.figures?.damaged() ?? 0) > 0)
    t.same([opened.follower.history, opened.follower.values], [follower.history, follower.values])
    t.ok(opened.follower.lineage.epochs.some(({ epoch }) => epoch === follower.lineage.epoch), 'cursors go on')
    const again = await opened.reopen()
    t.equal(again.store.figures?.damaged(), 0, 'it is told once')
    await again.close()
  }
})

t.test('a store of format 2, whose records had no checksums, gets them at its first opening', async t => {
  const place = placeAt(await tempDir(t))
  let opened = await openAt(place)
  const once = { key: 'k', fingerprint: 'x' }
  const ids = await opened.store.append([fact(1), value('a', 2), deletion('b')], once)
  const { image, lineage } = opened.follower
  await opened.close()
  await rm(join(place.dataDir, 'witness'))
  await onLevel(place.dataDir, async level => {
    for (const [key, text] of await level.iterator().all()) {
      if (text.startsWith('#')) await level.put(key, key === '!head' ? contentOf(text).split(' ').slice(0, 4).join(' ') : contentOf(text))
    }
    await level.put('!format', '2')
  })
  for (let round = 0; round < 2; round++) {
    opened = await openAt(place)
    t.same(opened.follower.image, image)
    t.equal(opened.follower.lineage.epochs[0]?.epoch, lineage.epoch)
    t.same(await opened.store.append([fact(1)], once), ids)
    t.same(opened.store.warnings, [])
    await opened.close()
  }
  await onLevel(place.dataDir, async level => {
    for (const [key, text] of await level.iterator().all()) t.ok(text === '' || text.startsWith('#') || key === '!format', key)
  })
})

t.test('a directory that is deleted or moved away under the store is noticed before anything more is acknowledged', { skip: process.platform === 'win32' }, async t => {
  for (const fate of ['deleted', 'moved']) {
    for (const busy of [true, false]) {
      const place = placeAt(await tempDir(t))
      const { store, follower, close } = await openAt(place)
      const [last] = await store.append([value('a', 1)])
      const { pending } = place.clock
      await (fate === 'deleted' ? rm(place.dataDir, { recursive: true }) : rename(place.dataDir, `${place.dataDir}.moved`))
      if (busy) await t.rejects(store.append([fact(1)]), { code: 'STORE_UNAVAILABLE', message: /DATA_DIR .* was deleted or replaced/ })
      else place.clock.advance(1000)
      await follower.until(({ states }) => states.length === 1)
      t.match(follower.states, [{ yes: false, reason: /was deleted or replaced/ }])
      while (place.clock.pending === pending) await place.clock.settle()
      await revived(place, follower)
      t.match(follower, { loads: 2, values: [] })
      t.match(store.warnings, [/came back without events/])
      const [next] = await store.append([value('a', 2)])
      t.ok(isAfter(next as string, last as string))
      await close()
    }
  }
})

const damages: Array<readonly [what: string, (dir: string) => Promise<unknown>]> = [
  ['CURRENT is missing', dir => rm(join(dir, 'CURRENT'))],
  ['CURRENT is empty', dir => truncate(join(dir, 'CURRENT'), 0)],
  ['CURRENT names nothing', dir => writeFile(join(dir, 'CURRENT'), 'MANIFEST-999999\n')],
  ['the MANIFEST is missing', async dir => rm(await newest(dir, /^MANIFEST/))],
  ['the MANIFEST is empty', async dir => truncate(await newest(dir, /^MANIFEST/), 0)],
  ['the MANIFEST is garbage', async dir => writeFile(await newest(dir, /^MANIFEST/), Buffer.alloc(500, 'garbage'))]
]
for (const [what, damage] of damages) {
  t.test(`where ${what}, the store is repaired and loses nothing`, async t => {
    const { place, ids } = await filled(t, 40)
    await (await openAt(place)).close()
    await damage(place.dataDir)
    const { store, follower, close } = await openAt(place)
    t.same(follower.history.map(({ id }) => id), ids)
    t.same(follower.values.map(dataOf), [39])
    t.ok(place.logged.some(({ level, message }) => level === 'warn' && /repair/.test(message)))
    t.equal(follower.lineage.epochs.length, 3)
    await store.append([fact('goes on')])
    await close()
    t.same(await readdir(dirname(place.dataDir)), ['data'])
  })
}

t.test('where a table is missing or garbage, the store opens with the rest', async t => {
  for (const damage of [(file: string) => rm(file), (file: string) => truncate(file, 100), (file: string) => writeFile(file, Buffer.alloc(3000, 'garbage'))]) {
    const { place, ids } = await filled(t, 40)
    const { store } = await openAt(place)
    const [last] = await store.append([fact('last')])
    await store.close()
    await damage(await newest(place.dataDir, /^\d+\.ldb$/))
    const { follower, close } = await openAt(place)
    t.ok(follower.history.every(({ id }) => id === last || ids.includes(id)))
    t.ok(place.logged.some(({ level, message }) => level === 'warn' && /repair/.test(message)))
    await close()
  }
})

t.test('what cannot be repaired is set aside, and the store starts empty', async t => {
  const { place, head } = await filled(t, 40)
  await rm(join(place.dataDir, 'CURRENT'))
  // Repair writes its first file under this name.
  await mkdir(join(place.dataDir, '000001.dbtmp'))
  const { store, follower, close } = await openAt(place)
  t.match(follower, { history: [], values: [], head })
  t.equal(follower.lineage.epochs.length, 1)
  await store.append([fact('goes on')])
  await close()
  const { details } = place.logged.find(({ level }) => level === 'error') as Logged
  t.match(basename(details.aside as string), /^data\.damaged-/)
  t.ok((await readdir(details.aside as string)).includes('lost'))
})

t.test('ids given before the clock was set back far do not come again after damage', async t => {
  const { place, ids } = await filled(t, 5)
  await rm(join(place.dataDir, 'CURRENT'))
  place.clock.turn(-86_400_000)
  const { store, close } = await openAt(place)
  const [id] = await store.append([fact(1)])
  t.ok(isAfter(id as string, ids.at(-1) as string))
  await close()
})

// A limit on the size of files stops a write as a full disk does, for any user and without a mount.
if (process.platform === 'linux') {
  t.test('a full disk refuses with STORE_UNAVAILABLE, and goes on once there is space, with nothing lost', async t => {
    const dir = await tempDir(t)
    const writer = startWriter(t, dir, { publishers: 4, bytes: 2000 })
    await writer.heard('open')
    limitFiles(writer.pid, 256 * 1024)
    await writer.heard('available false', 3)
    limitFiles(writer.pid, 'unlimited')
    await starved(t, writer)
    await writer.kill()
    const again = startWriter(t, dir, { publishers: 0 })
    await again.heard('open')
    allHeld(t, writer, again)
    await again.kill()
  })

  // This process itself is starved here, so that the test owns the clock the store waits by. Tap would end it.
  process.on('SIGXFSZ', () => {})

  t.test('what was refused and yet reached the disk is told before publishing goes on', async t => {
    const place = placeAt(await tempDir(t))
    const { store, follower, close } = await openAt(place)
    const acked = await starve(t, place, store)
    t.match(follower.states, [{ yes: false, reason: /File too large/ }])
    await t.rejects(store.append([fact('at once')]), { code: 'STORE_UNAVAILABLE', retryMs: Number })
    // What a write leaves behind whose fsync alone failed.
    const fresh = entryOf(fact('fact'), `${place.clock.wall() + 1}-0`)
    const renewed = entryOf(value('a', 2), `${place.clock.wall() + 1}-1`)
    await onLevel(place.dataDir, level => level.batch()
      .put(...sealed(historyKey(fresh.id), recordOf(fresh, acked.length + 1)))
      .put(...sealed(valueKey(renewed), recordOf(renewed, 0)))
      .put(...sealed('!head', boundsText({ head: renewed.id, floor: ORIGIN, ordinal: acked.length + 1, trimmed: 0, sum: null, time: 0, writes: 0, systemFloor: null })))
      .write())
    const { epoch } = follower.lineage
    await revived(place, follower)
    t.same(follower.applied.slice(-2).map(dataOf), ['fact', 2])
    t.match(follower, { loads: 1, lineage: { epoch } }, 'nothing was lost, so no new epoch')
    const [next] = await store.append([value('a', 3)])
    t.ok(isAfter(next as string, renewed.id))
    t.equal(follower.history.length, acked.length + 1)
    t.same(await store.append([deletion('a', undefined, renewed.id)]), [null])
    await close()
    const again = await openAt(place)
    t.match(again.follower.lineage.epochs, [{ epoch }, { seam: next }])
    await again.close()
  })

  t.test('where the log comes back without what was told, a new epoch begins at its end', async t => {
    const place = placeAt(await tempDir(t))
    const { store, follower, close } = await openAt(place)
    const acked = await starve(t, place, store)
    for (const name of await readdir(place.dataDir)) await rm(join(place.dataDir, name), { recursive: true })
    const { epoch } = follower.lineage
    await revived(place, follower)
    t.match(follower, { loads: 2, history: [], values: [] })
    t.equal(follower.lineage.epochs.at(-1)?.seam, ORIGIN)
    t.not(follower.lineage.epoch, epoch)
    const [next] = await store.append([fact('goes on')])
    t.ok(isAfter(next as string, acked.at(-1) as string), 'ids rise all the same')
    await close()
  })

  t.test('a store can be closed while it cannot be written to', async t => {
    const place = placeAt(await tempDir(t))
    const { store, close } = await openAt(place)
    const acked = await starve(t, place, store)
    await close()
    await t.rejects(store.append([fact(1)]), { code: 'STORE_UNAVAILABLE' })
    const again = await openAt(place)
    t.same(again.follower.history.map(({ id }) => id), acked)
    await again.close()
  })
}

/** Publishes until the disk takes no more and the store has let go of it. @returns the ids of the facts that were acknowledged */
async function starve (t: Tap, { clock }: Place, store: Store): Promise<string[]> {
  await store.append([value('a', 1)])
  t.teardown(() => limitFiles(process.pid, 'unlimited'))
  limitFiles(process.pid, 64 * 1024)
  const acked: string[] = []
  const pending = clock.pending
  try {
    while (true) {
      const large = fact('x'.repeat(1000))
      const once = { key: `k${acked.length}`, fingerprint: 'x' }
      const [[id], [same]] = await Promise.all([store.append([large], once), store.append([large], once)])
      t.equal(id, same)
      acked.push(id as string)
    }
  } catch (error) {
    t.match(error, { code: 'STORE_UNAVAILABLE', statusCode: 503, message: /Idempotency-Key/ })
  }
  while (clock.pending === pending) await clock.settle()
  limitFiles(process.pid, 'unlimited')
  t.ok(acked.length > 20)
  return acked
}

async function revived ({ clock }: Place, follower: Recorder): Promise<void> {
  clock.advance(100)
  await follower.until(({ states }) => states.at(-1)?.yes === true)
}

if (canMount()) {
  t.test('a file system without space refuses, and goes on once there is some, with nothing lost', async t => {
    const dir = await tempDir(t)
    await mkdir(dir)
    const writer = startWriter(t, dir, { publishers: 4, bytes: 2000, megabytes: 12 })
    await writer.heard('available false')
    await writer.heard('refused', 20)
    writer.say('free')
    await starved(t, writer)
    writer.say('die')
    await writer.heard('open', 2)
    allHeld(t, writer, writer)
    await writer.kill()
  })
}

/** Nothing is acknowledged that was not told before, nothing is told twice, and publishing goes on in the end. */
async function starved (t: Tap, writer: Writer): Promise<void> {
  await writer.heard('available true')
  await writer.heard('acked', writer.said('acked').length + 50)
  const told = new Map<string, string>()
  for (const [n, id] of writer.said('told')) {
    if (told.has(n as string)) t.fail(`${n} was told twice`)
    told.set(n as string, id as string)
  }
  t.same(writer.said('acked').filter(([n, id]) => told.get(n as string) !== id), [])
  t.same(writer.said('split'), [], 'twins are answered alike')
  const ids = [...told.values()]
  t.ok(ids.every((id, at) => at === 0 || isAfter(id, ids[at - 1] as string)))
  t.ok(writer.said('refused').length > 0)
  t.ok(writer.said('refused').every(([, code]) => code === 'STORE_UNAVAILABLE'))
  t.equal(writer.said('loaded').length, 1, 'and nobody had to begin anew')
  t.comment(`${writer.said('acked').length} acknowledged, ${writer.said('refused').length} refused, ${writer.said('available').length} changes`)
}

function allHeld (t: Tap, before: Writer, after: Writer): void {
  const held = after.said('held')
  const ids = new Map(held as Array<[string, string]>)
  t.same(before.said('acked').filter(([n, id]) => ids.get(n as string) !== id), [])
  t.equal(ids.size, held.length, 'each once')
}

interface Writer {
  readonly pid: number
  /** The words behind this one, of each line that begins with it. */
  said (word: string): string[][]
  /** Waits until so many lines begin so. */
  heard (start: string, count?: number): Promise<void>
  say (word: string): void
  kill (): Promise<void>
}

function startWriter (t: Tap, dir: string, options: { publishers?: number, bytes?: number, megabytes?: number } = {}): Writer {
  const { publishers = 1, bytes = 100, megabytes } = options
  const command = [process.execPath, '--import', 'tsx', fileURLToPath(new URL('writer.ts', import.meta.url))]
  // In a name space of its own the mount ends with the process; the second run finds what the first left.
  const script = 'mount -t tmpfs -o size="$1"m none "$2" && head -c "$3"M /dev/zero > "$2/ballast"; d="$2"; p="$4"; b="$5"; shift 5; "$@" "$d/data" "$p" "$b" "$d/ballast"; "$@" "$d/data" 0 0'
  const [file = '', ...args] = megabytes === undefined
    ? [...command, dir, `${publishers}`, `${bytes}`]
    : ['unshare', '-Urm', 'sh', '-c', script, 'sh', `${megabytes}`, dir, `${megabytes / 2}`, `${publishers}`, `${bytes}`, ...command]
  const child = spawn(file, args, { stdio: 'pipe', detached: true })
  let complaint = ''
  const ended = new Promise<void>(resolve => child.once('close', (code, signal) => { complaint += `${code} ${signal}`; resolve() }))
  child.stderr.on('data', text => { complaint += text })
  const lines: string[] = []
  const watchers = new Set<() => void>()
  createInterface(child.stdout).on('line', line => {
    lines.push(line)
    for (const look of watchers) look()
  })
  // Its whole group: the name space has a shell in between.
  const kill = (): Promise<void> => {
    try {
      process.kill(-(child.pid as number), 'SIGKILL')
    } catch {
      // It has ended.
    }
    return ended
  }
  t.teardown(kill)
  return {
    pid: child.pid as number,
    kill,
    said: word => lines.filter(line => line.startsWith(`${word} `)).map(line => line.split(' ').slice(1)),
    heard: (start, count = 1) => new Promise((resolve, reject) => {
      const look = (): void => {
        if (lines.filter(line => line.startsWith(start)).length < count) return
        watchers.delete(look)
        resolve()
      }
      watchers.add(look)
      void ended.then(() => reject(new Error(`the writer ended; it last said ${lines.at(-1)}; ${complaint}`)))
      look()
    }),
    say: word => { child.stdin.write(`${word}\n`) }
  }
}

/** Lets a process write no file beyond so many bytes. */
function limitFiles (pid: number, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', `${pid}`, `--fsize=${bytes}:`])
}

/** Whether this user may mount in a name space of its own; in some containers nobody may. */
function canMount (): boolean {
  try {
    execFileSync('unshare', ['-Urm', 'mount', '-t', 'tmpfs', 'none', '/tmp'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** A closed store with so many facts and, beside each, another value of one key. */
async function filled (t: Tap, count: number): Promise<{ place: Place, ids: string[], head: string }> {
  const place = placeAt(await tempDir(t))
  const { store, follower } = await openAt(place)
  for (let n = 0; n < count; n++) await store.append([fact({ n, text: 'x'.repeat(200) }), value('a', n)])
  await store.close()
  return { place, ids: follower.history.map(({ id }) => id), head: follower.head }
}

async function newest (dir: string, form: RegExp): Promise<string> {
  const names = (await readdir(dir)).filter(name => form.test(name)).sort()
  return join(dir, names.at(-1) ?? 'none')
}

async function onLevel (dir: string, act: (level: ClassicLevel) => Promise<unknown>): Promise<void> {
  const level = new ClassicLevel(dir)
  await level.open()
  await act(level)
  await level.close()
}

const sealed = (key: string, text: string): [key: string, value: string] => [key, seal(key, text)]

const historyIn = async (dir: string): Promise<string[]> => (await keysIn(dir)).filter(key => key.startsWith('h'))

async function keysIn (dir: string): Promise<string[]> {
  let keys: string[] = []
  await onLevel(dir, async level => { keys = await level.keys().all() })
  return keys
}

type Tap = Pick<typeof t, 'match' | 'ok' | 'equal' | 'same' | 'fail' | 'comment' | 'teardown'>
