// WORKERS=n: the primary. It forks the workers, replaces those that die, collects their metrics and passes on settings.
// It owns the listening socket and hands connections to the workers in turn. It has no gateway and no connection to Redis:
// little in it can fail. Workers that lose their primary drain and exit.
//
// The first worker starts alone. A cause that keeps every worker from starting, such as a port in use or a module that
// cannot be loaded, is therefore reported once and ends the primary. After the first worker has listened, a death is
// treated as a fault of that worker: a replacement starts, after a pause that doubles while workers die young.

import cluster from 'node:cluster'
import type { Worker } from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import type { pino } from 'pino'
import type { ProfileName } from '../../config/index.ts'
import { GroupMetrics } from '../app/group-metrics.ts'
import type { ProcessMetrics } from '../app/group-metrics.ts'
import { leaveSignals } from './early-signals.ts'
import { FAULTS, hangsUp, onNpmGone } from './ending.ts'
import { WORKER } from './worker.ts'
import type { PrimaryMessage, StopMode, WorkerMessage } from './worker.ts'

export interface WorkersOptions {
  /** The file a worker runs, and its arguments. */
  readonly exec: string
  readonly args: readonly string[]
  readonly count: number
  /** Maximum time from the order to stop to the end of a worker's drain, ms (SHUTDOWN_DELAY and SHUTDOWN_TIMEOUT). */
  readonly drainMs: number
  readonly log: pino.Logger
  /** Current settings, for workers that start now. */
  readonly settings: () => object
  /** The command `tune` changed the settings of all workers. */
  readonly onTuned: (changes: Record<string, unknown>) => void
  /** The command `switch` changed the profile of all workers; null: that was taken back. */
  readonly onSwitched: (profile: ProfileName | null) => void
  /** All workers listen for the first time. */
  readonly onReady: (url: string) => void
}

const SHORTEST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000
/** A worker exits by itself when its drain time is over; after this much more it is killed. */
const OVERTIME_MS = 1000
/** Wait for the metrics of one worker. The worker that requested those of all waits twice as long (GROUP_METRICS_TIMEOUT_MS in worker.ts). */
const METRICS_TIMEOUT_MS = 1000
/** Interval of asking each worker whether its event loop still turns, and questions without an answer after which it is killed. */
const PING_MS = 1000
const MAX_UNANSWERED = 15

/** Holds one worker. If it dies, its replacement takes the same slot and number. */
interface WorkerSlot {
  readonly number: number
  worker: Worker | null
  /** Time the worker started to listen, monotonic ms; null before that. */
  listeningSince: number | null
  /** It has read the log. */
  ready: boolean
  /** Consecutive deaths of workers that did not live long. */
  failures: number
  restart: NodeJS.Timeout | undefined
  /** The settings last sent to the worker; null before its `hello`. */
  settings: object | null
  /** How it was, or will be, ordered to stop. */
  stopping: StopMode | null
  /** Questions sent since it last said anything. Counted instead of time: a primary that slept has asked nothing meanwhile. */
  unanswered: number
}

/** Runs the workers until all have exited for good. @returns the exit code */
export async function runWorkers (options: WorkersOptions): Promise<number> {
  const workers = new WorkerPool(options)
  const { log } = options
  const second = (signal: string): void => {
    log.warn(`second ${signal}: exiting at once`)
    workers.kill()
  }
  // With a terminal, SIGHUP means that it was closed; without one, operators send it to replace the workers.
  const replacesOnHangup = process.platform !== 'win32' && !hangsUp()
  leaveSignals()
  closeWithGrace({ delay: false, logger: false, skip: [...FAULTS, ...replacesOnHangup ? ['SIGHUP' as const] : []], onSecondSignal: second }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'uncaught error: draining, then exiting')
    const code = await workers.end(err === undefined ? 0 : 1, signal)
    if (code !== 0) process.exit(code)
  })
  if (replacesOnHangup) process.on('SIGHUP', () => { void workers.replaceAll() })
  process.on('message', message => { if (message === 'shutdown') void workers.end(0) })
  onNpmGone(() => {
    log.info('npm has ended')
    void workers.end(0)
  })
  return await workers.run()
}

class WorkerPool {
  readonly #options: WorkersOptions
  readonly #slots: readonly WorkerSlot[]
  readonly #exitCode: Promise<number>
  #resolveExitCode: (code: number) => void = () => {}
  /** The URL the workers listen on; null until the first one does. */
  #url: string | null = null
  #allListened = false
  #ending = false
  #replacing = false
  #code = 0
  /** Called when a worker is ready, and when all are to stop. */
  #notifyChange = (): void => {}
  readonly #metrics = new GroupMetrics<Worker>()
  readonly #pendingMetrics = new Map<number, (metrics: ProcessMetrics | null) => void>()
  #lastId = 0
  #allMetrics: Promise<string | null> | null = null

  constructor (options: WorkersOptions) {
    this.#options = options
    this.#slots = Array.from({ length: options.count }, (_, index) => ({
      number: index + 1, worker: null, listeningSince: null, ready: false, failures: 0, restart: undefined, settings: null, stopping: null, unanswered: 0
    }))
    this.#exitCode = new Promise(resolve => { this.#resolveExitCode = resolve })
  }

  run (): Promise<number> {
    const { exec, args } = this.#options
    // On Windows the default would let the workers compete for connections.
    cluster.schedulingPolicy = cluster.SCHED_RR
    cluster.setupPrimary({ exec, args: [...args] })
    this.#start(this.#slots[0] as WorkerSlot)
    const timer = setInterval(() => this.#ping(), PING_MS)
    return this.#exitCode.finally(() => clearInterval(timer))
  }

  /** Drains all workers. @returns the exit code, once all have exited */
  end (code: number, signal?: string): Promise<number> {
    if (!this.#ending) {
      this.#options.log.info({ signal, workers: this.#running.length }, 'draining all workers')
      this.#end(code)
    }
    return this.#exitCode
  }

  kill (): void {
    for (const { worker } of this.#running) worker.process.kill('SIGKILL')
  }

  /** Replaces one worker after the other, each after the replacement before it is ready. */
  async replaceAll (): Promise<void> {
    const { log } = this.#options
    if (!this.#allListened || this.#ending || this.#replacing) return log.info('SIGHUP ignored: workers are already being started or stopped')
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
    Object.assign(slot, { listeningSince: null, ready: false, settings: null, stopping: null, unanswered: 0 })
    let worker: Worker
    try {
      worker = cluster.fork({ [WORKER]: String(slot.number) })
    } catch (error) {
      // The system has no memory or no process left.
      this.#ended(slot, `could not start (${(error as Error).message})`, null)
      return
    }
    const { pid } = worker.process
    slot.worker = worker
    worker.on('message', (message: WorkerMessage) => this.#receive(slot, worker, message))
    worker.once('exit', (code, signal) => this.#ended(slot, `(pid ${pid}) ${signal === null ? `exited with ${code}` : `was killed by ${signal}`}`, code))
    worker.on('error', error => { if (pid === undefined) this.#ended(slot, `could not start (${error.message})`, null) })
  }

  /** Kills workers whose event loop hangs: their clients hear nothing, and connect to the others once they are cut off. */
  #ping (): void {
    for (const slot of this.#running) {
      // Before its `hello` a worker gets no messages.
      if (slot.settings === null) continue
      if (slot.unanswered === MAX_UNANSWERED) {
        this.#options.log.error(`worker ${slot.number} (pid ${slot.worker.process.pid}) has not answered for ${MAX_UNANSWERED * PING_MS / 1000} s: killing it`)
        slot.worker.process.kill('SIGKILL')
      }
      slot.unanswered++
      send(slot.worker, { kind: 'ping' })
    }
  }

  #receive (slot: WorkerSlot, worker: Worker, message: WorkerMessage): void {
    slot.unanswered = 0
    // The operator's commands (COMMANDS_MODULE) may send on this channel too.
    switch (message?.kind) {
      case 'hello':
        this.#sendSettings(slot, worker)
        if (slot.stopping !== null) send(worker, slot.stopping)
        break
      case 'listening':
        // Changes made before it followed the log have not reached it.
        if (slot.settings !== this.#options.settings()) this.#sendSettings(slot, worker)
        return this.#startedListening(slot, message.url)
      case 'ready':
        slot.ready = true
        return this.#notifyChange()
      case 'shutdown':
        void this.end(0)
        break
      case 'tuned': return this.#keep(() => this.#options.onTuned(message.changes))
      case 'switched': return this.#keep(() => this.#options.onSwitched(message.profile))
      case 'metrics': return this.#pendingMetrics.get(message.id)?.(message.metrics)
      case 'groupMetrics':
        this.#allMetrics ??= this.#describeAllMetrics().catch((err: Error) => {
          this.#options.log.warn({ err }, 'the metrics of the workers could not be added up')
          return null
        }).finally(() => { this.#allMetrics = null })
        void this.#allMetrics.then(text => send(worker, { kind: 'groupMetrics', id: message.id, text }))
    }
  }

  /** The workers have made the change already: a primary that cannot follow it must not end them all. */
  #keep (change: () => void): void {
    try {
      change()
    } catch (err) {
      this.#options.log.error({ err }, 'a change of the settings is not kept for workers that start later')
    }
  }

  #sendSettings (slot: WorkerSlot, worker: Worker): void {
    slot.settings = this.#options.settings()
    send(worker, { kind: 'settings', settings: slot.settings })
  }

  #startedListening (slot: WorkerSlot, url: string): void {
    slot.listeningSince = performance.now()
    const first = this.#url === null
    this.#url = url
    if (first && !this.#ending) for (const other of this.#slots) if (other !== slot) this.#start(other)
    if (!this.#allListened && this.#slots.every(({ listeningSince }) => listeningSince !== null)) {
      this.#allListened = true
      this.#options.onReady(url)
    }
  }

  #ended (slot: WorkerSlot, how: string, code: number | null): void {
    const { log } = this.#options
    const { worker, listeningSince } = slot
    slot.worker = null
    slot.listeningSince = null
    if (worker !== null) this.#metrics.delete(worker)
    if (this.#ending) {
      // A worker that never listened had nothing to drain.
      if (listeningSince !== null && code !== 0) {
        log.warn(`worker ${slot.number} ${how}`)
        this.#code ||= 1
      }
    } else if (this.#url === null) {
      // A worker that exits with a code has logged the reason itself.
      if (code === null) log.fatal(`worker ${slot.number} ${how}`)
      this.#end(code === null || code === 0 ? 1 : code)
    } else {
      slot.failures = listeningSince !== null && performance.now() - listeningSince > LONGEST_PAUSE_MS ? 1 : slot.failures + 1
      const pauseMs = slot.stopping !== null ? 0 : Math.min(SHORTEST_PAUSE_MS * 2 ** (slot.failures - 1), LONGEST_PAUSE_MS)
      log[code === 0 ? 'info' : 'warn'](`worker ${slot.number} ${how}; a replacement starts${pauseMs === 0 ? '' : ` in ${pauseMs} ms`}`)
      slot.restart = setTimeout(() => this.#start(slot), pauseMs)
    }
    if (this.#ending && this.#running.length === 0) this.#resolveExitCode(this.#code)
  }

  #end (code: number): void {
    this.#ending = true
    this.#code = code
    for (const { restart } of this.#slots) clearTimeout(restart)
    for (const slot of this.#running) this.#stop(slot, slot.worker, 'shutdown')
    if (this.#running.length === 0) this.#resolveExitCode(code)
    this.#notifyChange()
  }

  #stop (slot: WorkerSlot, worker: Worker, how: StopMode): void {
    const { drainMs, log } = this.#options
    slot.stopping = how
    if (slot.settings !== null) send(worker, how)
    const timer = setTimeout(() => {
      log.error(`worker ${slot.number} (pid ${worker.process.pid}) does not exit: killing it`)
      worker.process.kill('SIGKILL')
    }, drainMs + OVERTIME_MS)
    worker.once('exit', () => clearTimeout(timer))
  }

  async #describeAllMetrics (): Promise<string> {
    const asked = this.#running.filter(({ listeningSince }) => listeningSince !== null).map(({ worker }) => worker)
    const answers = new Map(await Promise.all(asked.map(async worker => [worker, await this.#metricsOf(worker)] as const)))
    for (const worker of asked) if (!this.#running.some(slot => slot.worker === worker)) answers.delete(worker)
    return await this.#metrics.describe(answers)
  }

  /** @returns null if the worker does not answer in time */
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

/** Errors are ignored: a worker that cannot be reached is gone, or soon will be. */
function send (worker: Worker, message: PrimaryMessage): void {
  worker.send(message as object, () => {})
}
