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
import type { pino } from 'pino'
import { GroupMetrics } from '../app/group-metrics.ts'
import type { ProcessMetrics } from '../app/group-metrics.ts'
import { WORKER } from './worker.ts'
import type { PrimaryMessage, StopMode, WorkerMessage } from './worker.ts'

export interface WorkersOptions {
  /** What a worker runs, and its arguments. */
  readonly exec: string
  readonly args: readonly string[]
  readonly count: number
  /** Time a worker has to drain (SHUTDOWN_TIMEOUT). */
  readonly drainMs: number
  readonly log: pino.Logger
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
const METRICS_TIMEOUT_MS = 1000

/** A place for a worker; who dies in it is followed by another one with its number. */
interface WorkerSlot {
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
  stopping: StopMode | null
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
  readonly #slots: readonly WorkerSlot[]
  readonly #over: Promise<number>
  #resolve: (code: number) => void = () => {}
  /** Where they listen; null before one of them ever did. */
  #url: string | null = null
  #complete = false
  #ending = false
  #replacing = false
  #code = 0
  /** Called when a worker is ready, and when all are to end. */
  #notifyChange = (): void => {}
  readonly #metrics = new GroupMetrics<Worker>()
  readonly #pendingMetrics = new Map<number, (metrics: ProcessMetrics | null) => void>()
  #lastId = 0
  #describingAll: Promise<string | null> | null = null

  constructor (options: WorkersOptions) {
    this.#options = options
    this.#slots = Array.from({ length: options.count }, (_, index) => ({
      number: index + 1, worker: null, since: null, ready: false, failures: 0, restart: undefined, settings: null, stopping: null
    }))
    this.#over = new Promise(resolve => { this.#resolve = resolve })
  }

  run (): Promise<number> {
    const { exec, args } = this.#options
    // Windows would otherwise let them race for connections.
    cluster.schedulingPolicy = cluster.SCHED_RR
    cluster.setupPrimary({ exec, args: [...args] })
    this.#start(this.#slots[0] as WorkerSlot)
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
    for (const slot of this.#slots) {
      const before = slot.worker
      if (before !== null) this.#stop(slot, before, 'retire')
      while (!this.#ending && (slot.worker === before || !slot.ready)) await new Promise<void>(resolve => { this.#notifyChange = resolve })
    }
    this.#replacing = false
    if (!this.#ending) log.info('all workers were replaced')
  }

  get #running (): Array<WorkerSlot & { worker: Worker }> {
    return this.#slots.filter((slot): slot is WorkerSlot & { worker: Worker } => slot.worker !== null)
  }

  #start (slot: WorkerSlot): void {
    Object.assign(slot, { since: null, ready: false, settings: null, stopping: null })
    let worker: Worker
    try {
      worker = cluster.fork({ [WORKER]: String(slot.number) })
    } catch (error) {
      // The system is out of memory, or of processes.
      this.#ended(slot, `could not be started (${(error as Error).message})`, null)
      return
    }
    const { pid } = worker.process
    slot.worker = worker
    worker.on('message', (message: WorkerMessage) => this.#receive(slot, worker, message))
    worker.once('exit', (code, signal) => this.#ended(slot, `(pid ${pid}) ${signal === null ? `ended with ${code}` : `was ended by ${signal}`}`, code))
    worker.on('error', error => { if (pid === undefined) this.#ended(slot, `could not be started (${error.message})`, null) })
  }

  #receive (slot: WorkerSlot, worker: Worker, message: WorkerMessage): void {
    // Commands of the operator's own may speak on the channel too.
    switch (message?.kind) {
      case 'hello':
        this.#sendSettings(slot, worker)
        if (slot.stopping !== null) send(worker, slot.stopping)
        break
      case 'listening':
        // Before it followed the log it could not be told of changes.
        if (slot.settings !== this.#options.settings()) this.#sendSettings(slot, worker)
        return this.#startedListening(slot, message.url)
      case 'ready':
        slot.ready = true
        return this.#notifyChange()
      case 'shutdown':
        void this.end(0)
        break
      case 'tuned': return this.#options.onTuned(message.changes)
      case 'metrics': return this.#pendingMetrics.get(message.id)?.(message.metrics)
      case 'groupMetrics':
        this.#describingAll ??= this.#describeAll().catch((err: Error) => {
          this.#options.log.warn({ err }, 'the metrics of the workers could not be added up')
          return null
        }).finally(() => { this.#describingAll = null })
        void this.#describingAll.then(text => send(worker, { kind: 'groupMetrics', id: message.id, text }))
    }
  }

  #sendSettings (slot: WorkerSlot, worker: Worker): void {
    slot.settings = this.#options.settings()
    send(worker, { kind: 'settings', settings: slot.settings })
  }

  #startedListening (slot: WorkerSlot, url: string): void {
    slot.since = performance.now()
    const first = this.#url === null
    this.#url = url
    if (first && !this.#ending) for (const other of this.#slots) if (other !== slot) this.#start(other)
    if (!this.#complete && this.#slots.every(({ since }) => since !== null)) {
      this.#complete = true
      this.#options.onReady(url)
    }
  }

  #ended (slot: WorkerSlot, how: string, code: number | null): void {
    const { log } = this.#options
    const { worker, since } = slot
    slot.worker = null
    slot.since = null
    if (worker !== null) this.#metrics.delete(worker)
    if (this.#ending) {
      // One that never listened had nothing to drain.
      if (since !== null && code !== 0) {
        log.warn(`worker ${slot.number} ${how}`)
        this.#code ||= 1
      }
    } else if (this.#url === null) {
      // It has said itself why it ends with a code.
      if (code === null) log.fatal(`worker ${slot.number} ${how}`)
      this.#end(code === null || code === 0 ? 1 : code)
    } else {
      slot.failures = since !== null && performance.now() - since > LONGEST_PAUSE_MS ? 1 : slot.failures + 1
      const pauseMs = slot.stopping !== null ? 0 : Math.min(SHORTEST_PAUSE_MS * 2 ** (slot.failures - 1), LONGEST_PAUSE_MS)
      log[code === 0 ? 'info' : 'warn'](`worker ${slot.number} ${how}; another one takes its place${pauseMs === 0 ? '' : ` in ${pauseMs} ms`}`)
      slot.restart = setTimeout(() => this.#start(slot), pauseMs)
    }
    if (this.#ending && this.#running.length === 0) this.#resolve(this.#code)
  }

  #end (code: number): void {
    this.#ending = true
    this.#code = code
    for (const { restart } of this.#slots) clearTimeout(restart)
    for (const slot of this.#running) this.#stop(slot, slot.worker, 'shutdown')
    if (this.#running.length === 0) this.#resolve(code)
    this.#notifyChange()
  }

  #stop (slot: WorkerSlot, worker: Worker, how: StopMode): void {
    const { drainMs, log } = this.#options
    slot.stopping = how
    if (slot.settings !== null) send(worker, how)
    const timer = setTimeout(() => {
      log.error(`worker ${slot.number} (pid ${worker.process.pid}) does not end: killing it`)
      worker.process.kill('SIGKILL')
    }, drainMs + OVERTIME_MS)
    worker.once('exit', () => clearTimeout(timer))
  }

  async #describeAll (): Promise<string> {
    const asked = this.#running.filter(({ since }) => since !== null).map(({ worker }) => worker)
    const answers = new Map(await Promise.all(asked.map(async worker => [worker, await this.#metricsOf(worker)] as const)))
    for (const worker of asked) if (!this.#running.some(slot => slot.worker === worker)) answers.delete(worker)
    return await this.#metrics.describe(answers)
  }

  /** @returns null where it does not answer in time */
  async #metricsOf (worker: Worker): Promise<ProcessMetrics | null> {
    const id = ++this.#lastId
    return await new Promise(resolve => {
      const done = (metrics: ProcessMetrics | null): void => {
        clearTimeout(timer)
        this.#pendingMetrics.delete(id)
        resolve(metrics)
      }
      const timer = setTimeout(done, METRICS_TIMEOUT_MS, null)
      this.#pendingMetrics.set(id, done)
      send(worker, { kind: 'metrics', id })
    })
  }
}

/** What cannot be told to a worker is of no use to it: it is gone, or will be. */
function send (worker: Worker, message: PrimaryMessage): void {
  worker.send(message as object, () => {})
}
