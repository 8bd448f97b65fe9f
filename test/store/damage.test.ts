// The data directory in the hands of a failing disk: bits that flip, files that are cut short, zeroed, deleted or not readable.
// What is served from it afterwards is right; what cannot be is left out, declared, and kept. Never a changed value, never an
// older one in the place of a newer, never history with a hole.

import t from 'tap'
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, chown, cp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isAfter, ORIGIN } from '../../src/core/id.ts'
import { judge } from '../../src/core/standing.ts'
import { openEmbeddedStore } from '../../src/store/embedded/store.ts'
import { ManualClock } from '../clock.ts'
import { deletion, fact, Recorder, tempDir, value } from './harness.ts'
import type { Entry } from '../../src/core/event.ts'
import type { Id } from '../../src/core/id.ts'
import type { Finding, Order } from './examiner.ts'

t.setTimeout(600_000)

const FLIPS = Number(process.env.DAMAGE_FLIPS ?? 200)
const SEED = Number(process.env.DAMAGE_SEED ?? 20_251_128)
/** What a process needs of a directory; the others are LevelDB's own notes. */
const NEEDED = /^(CURRENT|MANIFEST-\d+|\d+\.(log|ldb)|witness)$/

/** The log as its publishers know it. */
interface Truth {
  readonly dir: string
  readonly clock: ManualClock
  readonly history: Entry[]
  readonly values: Entry[]
  readonly head: Id
  readonly floor: Id
  readonly epochs: string[]
  /** Positions that a client may stand at. */
  readonly positions: Id[]
}

let state = SEED
/** 0 up to, but not including, `below`. */
function random (below: number): number {
  state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0
  return ((Math.imul(state ^ (state >>> 13), 0x297a2d39) ^ (state >>> 7)) >>> 0) % below
}

const noise = (): string => Array.from({ length: 40 }, () => random(36).toString(36)).join('')

/** State and history, in tables and in the log, written by three processes. */
async function lived (t: { teardown (clean: () => Promise<void>): void }): Promise<Truth> {
  const dir = await tempDir(t)
  const clock = new ManualClock()
  const follower = new Recorder()
  const epochs: string[] = []
  const positions: Id[] = [ORIGIN]
  for (let life = 0; life < 3; life++) {
    const store = await openEmbeddedStore({
      dataDir: dir, durability: 'process', gatherMs: 0, historySize: 0, historyBytes: 0, historyTtlMs: 0, maxKeysPerRoom: 0, idempotencyTtlMs: 3_600_000, clock, log: { info () {}, warn () {}, error () {} }
    })
    await store.follow(follower)
    epochs.push(follower.lineage.epoch)
    for (let n = 0; n < 60; n++) {
      clock.advance(10)
      const drafts = Array.from({ length: 1 + random(8) }, () => {
        const room = `plant-${random(3)}`
        const key = `sensor-${random(200)}`
        const kind = random(10)
        if (kind === 0) return deletion(key, room)
        return kind < 5 ? fact({ n, noise: noise() }, room) : value(key, { setpoint: random(10_000), noise: noise() }, room)
      })
      await store.append(drafts, { key: `once-${life}-${n}`, fingerprint: 'x' })
      if (n % 10 === 0) positions.push(follower.head)
    }
    positions.push(follower.head)
    await store.close()
  }
  const { history, values, head, floor } = follower
  return { dir, clock, history: [...history], values, head, floor, epochs, positions }
}

/** A process that opens directories, and is started again where one of them ended it. */
class Examiner {
  #child: ChildProcess | null = null

  async ask (order: Order): Promise<Finding> {
    const child = this.#child ??= fork(fileURLToPath(new URL('examiner.ts', import.meta.url)), { execArgv: ['--import', 'tsx'] })
    return await new Promise<Finding>((resolve, reject) => {
      const died = (code: number | null, signal: string | null): void => {
        this.#child = null
        reject(new Error(`opening it ended the process: ${signal ?? code}`))
      }
      child.once('exit', died)
      child.once('message', (finding: Finding) => {
        child.off('exit', died)
        resolve(finding)
      })
      child.send(order)
    })
  }

  end (): void {
    this.#child?.kill('SIGKILL')
    this.#child = null
  }
}

const examiner = new Examiner()
t.teardown(() => examiner.end())

/** The content of each file that a process needs, below a directory. */
async function contents (dir: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !NEEDED.test(entry.name)) continue
    const path = join(entry.parentPath, entry.name)
    found.set(path.slice(dir.length), createHash('sha1').update(await readFile(path)).digest('hex'))
  }
  return found
}

const text = (entries: readonly Entry[]): string => JSON.stringify(entries.map(({ id, room, type, key, json }) => [id, room, type, key, json]).sort())

/** What is wrong with what is served. */
function faultsOf (truth: Truth, { history, values, head, floor, lineage, warnings, damaged }: Finding): string[] {
  const faults: string[] = []
  const right = new Set(truth.values.map(entry => text([entry])))
  const wrong = values.filter(entry => !right.has(text([entry])))
  if (wrong.length > 0) faults.push(`${wrong.length} values are changed or older: ${wrong[0]?.json}`)
  if (text(history) !== text(truth.history.filter(({ id }) => isAfter(id, floor)))) faults.push(`history is not what it was behind its floor ${floor}`)
  if (isAfter(truth.head, head)) faults.push(`ids would be given again: ${head} for ${truth.head}`)
  const isShort = isAfter(floor, truth.floor) || values.length < truth.values.length
  if (isShort && (warnings.length === 0 || damaged === 0)) faults.push('what is missing is declared neither in a warning nor in the metric')
  for (const epoch of truth.epochs) {
    for (const position of truth.positions) {
      if (isAfter(floor, position) || judge(epoch, [{ facts: position, state: position }], lineage, head) !== 'known') continue
      // This client goes on without a reset: it must get all values since, and hold those from before.
      const missing = truth.values.filter(entry => !values.some(({ id }) => id === entry.id))
      if (missing.length > 0) faults.push(`a client at ${position} goes on, though ${missing.length} values are left out`)
    }
  }
  return faults
}

/** Damages a copy of the directory, opens it twice, and judges what is served. @returns what became of it */
async function survive (t: Tap, truth: Truth, what: string, damage: (dir: string) => Promise<unknown>): Promise<'whole' | 'declared' | 'refused'> {
  const dataDir = await tempDir(t)
  await cp(truth.dir, dataDir, { recursive: true })
  await damage(dataDir)
  const before = await contents(dirname(dataDir))
  const order = { dataDir, wall: truth.clock.wall() }
  try {
    const finding = await examiner.ask({ ...order, publish: true })
    // What cannot be repaired is moved to a directory beside it.
    const after = await contents(dirname(dataDir))
    if (finding.refused !== undefined) {
      t.match(finding.refused, /DATA_DIR/, what)
      const gone = [...before].filter(([name, digest]) => after.get(name) !== digest && !/MANIFEST|CURRENT/.test(name))
      if (gone.length > 0) t.fail(`${what}: refused, and yet ${gone.map(([name]) => name).join()} changed`)
      return 'refused'
    }
    const faults = faultsOf(truth, finding)
    const isDeclared = finding.damaged > 0
    const held = new Set(after.values())
    const gone = [...before].filter(([name, digest]) => !held.has(digest) && (isDeclared || !/MANIFEST|CURRENT|witness|log/.test(name)))
    if (isDeclared && gone.length > 0) faults.push(`not kept: ${gone.map(([name]) => name).join()}`)
    const again = await examiner.ask({ ...order, publish: false })
    const last = again.history.at(-1)
    if (last?.id !== finding.published) faults.push(`the store does not go on: ${again.refused ?? last?.id}`)
    if (again.damaged > 0) faults.push(`the same damage is reported again: ${again.warnings.join()}`)
    if (again.refused === undefined && text(again.values) !== text(finding.values)) faults.push('another opening serves other values')
    if (faults.length > 0) t.fail(`${what}: ${faults.join('; ')}`)
    return isDeclared ? 'declared' : 'whole'
  } catch (error) {
    t.fail(`${what}: ${(error as Error).message}`)
    return 'refused'
  } finally {
    await rm(dirname(dataDir), { recursive: true, force: true })
  }
}

async function give (dir: string, uid: number): Promise<void> {
  for (let above = dirname(dir); above !== dirname(above); above = dirname(above)) {
    const { mode } = await stat(above)
    if ((mode & 1) === 0) await chmod(above, mode | 0o011)
  }
  await chown(dir, uid, uid)
  for (const name of await readdir(dir)) await chown(join(dir, name), uid, uid)
}

async function flip (file: string, bit: number): Promise<void> {
  const handle = await open(file, 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, Math.floor(bit / 8))
  byte.writeUInt8(byte.readUInt8(0) ^ (1 << bit % 8))
  await handle.write(byte, 0, 1, Math.floor(bit / 8))
  await handle.close()
}

t.test(`one bit flipped at ${FLIPS} places (seed ${SEED}) is harmless, or declared and set aside`, async t => {
  const truth = await lived(t)
  const files = (await readdir(truth.dir)).filter(name => NEEDED.test(name))
  const sizes = await Promise.all(files.map(async name => (await stat(join(truth.dir, name))).size))
  const counts = { whole: 0, declared: 0, refused: 0 }
  for (let n = 0; n < FLIPS; n++) {
    let at = random(sizes.reduce((sum, size) => sum + size, 0))
    let file = 0
    while (at >= (sizes[file] as number)) at -= sizes[file++] as number
    const bit = 8 * at + random(8)
    counts[await survive(t, truth, `bit ${bit} of ${files[file]}`, async dir => await flip(join(dir, files[file] as string), bit))]++
  }
  t.comment(JSON.stringify(counts))
  t.ok(counts.declared > FLIPS / 4, 'they hit something')
  t.equal(counts.refused, 0)
})

t.test('each file cut short, zeroed or deleted is harmless, or declared and set aside', async t => {
  const truth = await lived(t)
  const damages: Array<[what: string, damage: (file: string, size: number) => Promise<unknown>]> = [
    ['without its last byte', async (file, size) => await truncate(file, size - 1)],
    ['cut in half', async (file, size) => await truncate(file, Math.floor(size / 2))],
    ['empty', async file => await truncate(file, 0)],
    ['deleted', async file => await rm(file)],
    ['zeroed', async (file, size) => await writeFile(file, Buffer.alloc(size))],
    ['zeroed from the middle on', async (file, size) => await writeFile(file, Buffer.concat([(await readFile(file)).subarray(0, size / 2), Buffer.alloc(size - Math.floor(size / 2))]))],
    ['garbage', async (file, size) => await writeFile(file, Buffer.alloc(size, 'garbage'))]
  ]
  for (const name of (await readdir(truth.dir)).filter(name => NEEDED.test(name))) {
    const { size } = await stat(join(truth.dir, name))
    for (const [what, damage] of damages) {
      const fate = await survive(t, truth, `${name} ${what}`, async dir => await damage(join(dir, name), size))
      t.equal(fate, /CURRENT|MANIFEST|witness/.test(name) ? 'whole' : 'declared', `${name} ${what}: ${fate}`)
    }
  }
})

t.test('a zero anywhere in CURRENT loses nothing', async t => {
  const truth = await lived(t)
  const bytes = await readFile(join(truth.dir, 'CURRENT'))
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes)
    damaged.writeUInt8(0, at)
    t.equal(await survive(t, truth, `byte ${at} of CURRENT zero`, async dir => await writeFile(join(dir, 'CURRENT'), damaged)), 'whole')
  }
})

t.test('a stretch that stands twice in a file, in the place of another or between, ends no process and makes nothing wrong', async t => {
  const truth = await lived(t)
  const files = (await readdir(truth.dir)).filter(name => NEEDED.test(name) && name !== 'CURRENT')
  for (let n = 0; n < FLIPS / 2; n++) {
    const name = files[n % files.length] as string
    const bytes = await readFile(join(truth.dir, name))
    const size = [32, 4096, 32_768][random(3)] as number
    const [from, to] = [random(bytes.length), random(bytes.length)]
    const stretch = bytes.subarray(from, from + size)
    const isBetween = random(2) === 0
    // Where a stretch of one block stands behind itself, all checksums are right.
    const at = isBetween && size === 32_768 ? from : to
    const damaged = Buffer.concat([bytes.subarray(0, at), stretch, bytes.subarray(isBetween ? at : at + stretch.length)])
    await survive(t, truth, `${stretch.length} bytes at ${from} of ${name} again at ${at}${isBetween ? ' between' : ''}`, async dir => await writeFile(join(dir, name), damaged))
  }
})

t.test('all files but the witness deleted: an empty log is declared, and no id is given again', async t => {
  const truth = await lived(t)
  const fate = await survive(t, truth, 'all but the witness', async dir => {
    for (const name of await readdir(dir)) if (name !== 'witness') await rm(join(dir, name))
  })
  t.equal(fate, 'declared')
})

// Root may read everything, and becomes somebody else first.
const nobody = process.getuid?.() === 0 ? 65_534 : process.getuid?.()
for (const what of ['log', 'ldb', 'CURRENT', 'MANIFEST', 'witness']) {
  t.test(`a ${what} that may not be read is refused, and nothing is changed`, { skip: nobody === undefined ? 'Windows has no such rights' : false }, async t => {
    const truth = await lived(t)
    const own = new Examiner()
    t.teardown(() => own.end())
    const dataDir = truth.dir
    const names = (await readdir(dataDir)).filter(name => name.includes(what)).sort()
    const file = join(dataDir, names.at(-1) as string)
    await give(dataDir, nobody as number)
    await chmod(file, 0o000)
    const before = await contents(dataDir)
    const order = { dataDir, wall: truth.clock.wall(), publish: false, uid: nobody as number }
    const { refused } = await own.ask(order)
    t.match(refused, /DATA_DIR .*permission denied/i)
    t.match(refused, basename(file))
    t.same(await contents(dataDir), before)
    await chmod(file, 0o600)
    const finding = await own.ask(order)
    t.same(faultsOf(truth, finding), [])
    t.equal(finding.floor, truth.floor)
    t.equal(finding.damaged, 0)
  })
}

type Tap = Pick<typeof t, 'fail' | 'match' | 'equal' | 'ok' | 'teardown'>
