// WORKERS=n: the primary. It forks the workers, starts again those that die, and carries between them what only it can
// see. The listening socket is its own, and connections go to the workers in turn; it holds no gateway and no
// connection to Redis, so there is little that it could die of. Workers that lose it drain and end.
//
// The first worker starts alone. Whatever keeps one from starting, a port in use or a module that cannot be loaded, is
// so told once and ends everything. Once a worker has listened, a death is taken for an accident of that one:
// another takes its place, after a pause that grows while they die young.

import cluster from 'node:cluster'
import type { Worker } from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import type { Logger } from 'pino'
import { GroupMetrics } from '../app/group-metrics.ts'
import type { Figures } from '../app/group-metrics.ts'
import { WORKER } from './worker.ts'
import type { Dismissal, ToPrimary, ToWorker } from './worker.ts'

export interface WorkersOptions {
  /** What a worker runs, and its arguments. */
  readonly exec: string
  readonly args: readonly string[]
  readonly count: number
  /** Time a worker has to drain (SHUTDOWN_TIMEOUT). */
  readonly drainMs: number
  readonly log: Logger
  /** What a worker that starts now is given: the same for all. */
  readonly settings: () => object
  /** The command `tune` has changed the settings of all. */
  readonly onTuned: (changes: Record<string, unknown>) => void
  /** All of them listen, for the first time. */
  readonly onReady: (url: string) => void
}

const SHORTEST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
/** A worker ends by itself when its time is over; one that cannot is killed so much later. */
const OVERTIME_MS = 1000
/** For a worker's figures; the one that was asked for them all waits twice as long. */
const FIGURES_MS = 1000

/** A place for a worker; who dies in it is followed by another one with its number. */
interface Seat {
  readonly number: number
  worker: Worker | null
  /** Since when this worker listens, monotonic ms; null before. */
  since: number | null
  /** It has read the log. */
  ready: boolean
  /** Deaths in a row of workers that did not live long. */
  failures: number
  restart: NodeJS.Timeout | undefined
  /** What it was given when it said that it hears; null before. */
  settings: object | null
  /** What it is, or will be, told to end. */
  dismissed: Dismissal | null
}

/** Runs the workers until all have ended for good. @returns the exit code */
export async function runWorkers (options: WorkersOptions): Promise<number> {
  const workers = new Workers(options)
  const { log } = options
  const second = (signal: string): void => {
    log.warn(`second ${signal}: ending at once`)
    workers.kill()
  }
  // Where a terminal is closed it means the end, as ever; anywhere else it is what operators send.
  const reloads = process.platform !== 'win32' && !process.stdout.isTTY
  closeWithGrace({ delay: false, logger: false, skip: reloads ? ['SIGHUP'] : [], onSecondSignal: second }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'an error nobody caught: draining, then ending')
    const code = await workers.end(err === undefined ? 0 : 1, signal)
    if (code !== 0) process.exit(code)
  })
  if (reloads) process.on('SIGHUP', () => { void workers.replaceAll() })
  process.on('message', message => { if (message === 'shutdown') void workers.end(0) })
  return await workers.run()
}

class Workers {
  readonly #options: WorkersOptions
  readonly #seats: readonly Seat[]
  readonly #over: Promise<number>
  #resolve: (code: number) => void = () => {}
  /** Where they listen; null before one of them ever did. */
  #url: string | null = null
  #complete = false
  #ending = false
  #replacing = false
  #code = 0
  /** Called when a worker is ready, and when all are to end. */
  #moved = (): void => {}
  readonly #metrics = new GroupMetrics<Worker>()
  readonly #asked = new Map<number, (figures: Figures | null) => void>()
  #lastId = 0
  #describing: Promise<string | null> | null = null

  constructor (options: WorkersOptions) {
    this.#options = options
    this.#seats = Array.from({ length: options.count }, (_, index) => ({
      number: index + 1, worker: null, since: null, ready: false, failures: 0, restart: undefined, settings: null, dismissed: null
    }))
    this.#over = new Promise(resolve => { this.#resolve = resolve })
  }

  run (): Promise<number> {
    const { exec, args } = this.#options
    // Windows would otherwise let them race for connections.
    cluster.schedulingPolicy = cluster.SCHED_RR
    cluster.setupPrimary({ exec, args: [...args] })
    this.#start(this.#seats[0] as Seat)
    return this.#over
  }

  /** Drains all workers. Resolves when they have ended, with the exit code. */
  end (code: number, signal?: string): Promise<number> {
    if (!this.#ending) {
      this.#options.log.info({ signal, workers: this.#running.length }, 'draining all workers')
      this.#end(code)
    }
    return this.#over
  }

  kill (): void {
    for (const { worker } of this.#running) worker.process.kill('SIGKILL')
  }

  /** Lets one worker after the other end and another one take its place; the next when that one can be of use. */
  async replaceAll (): Promise<void> {
    const { log } = this.#options
    if (!this.#complete || this.#ending || this.#replacing) return log.info('SIGHUP: the workers are being started or ended already')
    this.#replacing = true
    log.info('SIGHUP: replacing the workers, one after the other')
    for (const seat of this.#seats) {
      const before = seat.worker
      if (before !== null) this.#dismiss(seat, before, 'retire')
      while (!this.#ending && (seat.worker === before || !seat.ready)) await new Promise<void>(resolve => { this.#moved = resolve })
    }
    this.#replacing = false
    if (!this.#ending) log.info('all workers were replaced')
  }

  get #running (): Array<Seat & { worker: Worker }> {
    return this.#seats.filter((seat): seat is Seat & { worker: Worker } => seat.worker !== null)
  }

  #start (seat: Seat): void {
    Object.assign(seat, { since: null, ready: false, settings: null, dismissed: null })
    let worker: Worker
    try {
      worker = cluster.fork({ [WORKER]: String(seat.number) })
    } catch (error) {
      // The system is out of memory, or of processes.
      this.#ended(seat, `could not be started (${(error as Error).message})`, null)
      return
    }
    const { pid } = worker.process
    seat.worker = worker
    worker.on('message', (message: ToPrimary) => this.#hears(seat, worker, message))
    worker.once('exit', (code, signal) => this.#ended(seat, `(pid ${pid}) ${signal === null ? `ended with ${code}` : `was ended by ${signal}`}`, code))
    worker.on('error', error => { if (pid === undefined) this.#ended(seat, `could not be started (${error.message})`, null) })
  }

  #hears (seat: Seat, worker: Worker, message: ToPrimary): void {
    // Commands of the operator's own may speak on the channel too.
    switch (message?.kind) {
      case 'hello':
        this.#give(seat, worker)
        if (seat.dismissed !== null) tell(worker, seat.dismissed)
        break
      case 'listens':
        // Before it followed the log it could not be told of changes.
        if (seat.settings !== this.#options.settings()) this.#give(seat, worker)
        return this.#listens(seat, message.url)
      case 'ready':
        seat.ready = true
        return this.#moved()
      case 'shutdown':
        void this.end(0)
        break
      case 'tuned': return this.#options.onTuned(message.changes)
      case 'figures': return this.#asked.get(message.id)?.(message.figures)
      case 'metrics':
        this.#describing ??= this.#describe().catch((err: Error) => {
          this.#options.log.warn({ err }, 'the metrics of the workers could not be added up')
          return null
        }).finally(() => { this.#describing = null })
        void this.#describing.then(text => tell(worker, { kind: 'metrics', id: message.id, text }))
    }
  }

  #give (seat: Seat, worker: Worker): void {
    seat.settings = this.#options.settings()
    tell(worker, { kind: 'settings', settings: seat.settings })
  }

  #listens (seat: Seat, url: string): void {
    seat.since = performance.now()
    const first = this.#url === null
    this.#url = url
    if (first && !this.#ending) for (const other of this.#seats) if (other !== seat) this.#start(other)
    if (!this.#complete && this.#seats.every(({ since }) => since !== null)) {
      this.#complete = true
      this.#options.onReady(url)
    }
  }

  #ended (seat: Seat, how: string, code: number | null): void {
    const { log } = this.#options
    const { worker, since } = seat
    seat.worker = null
    seat.since = null
    if (worker !== null) this.#metrics.delete(worker)
    if (this.#ending) {
      // One that never listened had nothing to drain.
      if (since !== null && code !== 0) {
        log.warn(`worker ${seat.number} ${how}`)
        this.#code ||= 1
      }
    } else if (this.#url === null) {
      // It has said itself why it ends with a code.
      if (code === null) log.fatal(`worker ${seat.number} ${how}`)
      this.#end(code === null || code === 0 ? 1 : code)
    } else {
      seat.failures = since !== null && performance.now() - since > LONGEST_PAUSE_MS ? 1 : seat.failures + 1
      const pauseMs = seat.dismissed !== null ? 0 : Math.min(SHORTEST_PAUSE_MS * 2 ** (seat.failures - 1), LONGEST_PAUSE_MS)
      log[code === 0 ? 'info' : 'warn'](`worker ${seat.number} ${how}; another one takes its place${pauseMs === 0 ? '' : ` in ${pauseMs} ms`}`)
      seat.restart = setTimeout(() => this.#start(seat), pauseMs)
    }
    if (this.#ending && this.#running.length === 0) this.#resolve(this.#code)
  }

  #end (code: number): void {
    this.#ending = true
    this.#code = code
    for (const { restart } of this.#seats) clearTimeout(restart)
    for (const seat of this.#running) this.#dismiss(seat, seat.worker, 'shutdown')
    if (this.#running.length === 0) this.#resolve(code)
    this.#moved()
  }

  #dismiss (seat: Seat, worker: Worker, how: Dismissal): void {
    const { drainMs, log } = this.#options
    seat.dismissed = how
    if (seat.settings !== null) tell(worker, how)
    const timer = setTimeout(() => {
      log.error(`worker ${seat.number} (pid ${worker.process.pid}) does not end: killing it`)
      worker.process.kill('SIGKILL')
    }, drainMs + OVERTIME_MS)
    worker.once('exit', () => clearTimeout(timer))
  }

  async #describe (): Promise<string> {
    const asked = this.#running.filter(({ since }) => since !== null).map(({ worker }) => worker)
    const answers = new Map(await Promise.all(asked.map(async worker => [worker, await this.#figuresOf(worker)] as const)))
    for (const worker of asked) if (!this.#running.some(seat => seat.worker === worker)) answers.delete(worker)
    return await this.#metrics.describe(answers)
  }

  /** @returns null where it does not answer in time */
  async #figuresOf (worker: Worker): Promise<Figures | null> {
    const id = ++this.#lastId
    return await new Promise(resolve => {
      const done = (figures: Figures | null): void => {
        clearTimeout(timer)
        this.#asked.delete(id)
        resolve(figures)
      }
      const timer = setTimeout(done, FIGURES_MS, null)
      this.#asked.set(id, done)
      tell(worker, { kind: 'figures', id })
    })
  }
}

/** What cannot be told to a worker is of no use to it: it is gone, or will be. */
function tell (worker: Worker, message: ToWorker): void {
  worker.send(message as object, () => {})
}
