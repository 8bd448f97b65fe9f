// The IPC channel between a worker and its primary (primary.ts): the messages of both, and the worker's side.

import cluster from 'node:cluster'
import type { ProfileName } from '../../config/index.ts'
import type { ProcessMetrics } from '../app/group-metrics.ts'
import type { MetricsExchange } from '../app/metrics.ts'

/** Environment variable with the number of a worker. Without it a forked process belongs to another program's cluster. */
export const WORKER = 'SIGNALBOX_WORKER'

/** From a worker to its primary. */
export type WorkerMessage =
  /** It listens for messages now and needs its settings. Node loses earlier messages, so the primary sends none. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'listening', readonly url: string }
  /** It has read the log. */
  | { readonly kind: 'ready' }
  /** The command `shutdown` was run: all workers are to stop. */
  | { readonly kind: 'shutdown' }
  /** The command `tune` changed the settings of all workers. */
  | { readonly kind: 'tuned', readonly changes: Record<string, unknown> }
  /** The command `switch` changed the profile of all workers; null: that was taken back. */
  | { readonly kind: 'switched', readonly profile: ProfileName | null }
  /** The answer to `ping`. */
  | { readonly kind: 'pong' }
  /** Requests the metrics of all workers. */
  | { readonly kind: 'groupMetrics', readonly id: number }
  /** The answer to `metrics`: its own metrics; null where they could not be read. */
  | { readonly kind: 'metrics', readonly id: number, readonly metrics: ProcessMetrics | null }

/** How a worker is to stop. `shutdown`: drain and exit. `retire`: let the others accept its connections first. */
export type StopMode = 'shutdown' | 'retire'

/** From the primary to a worker. */
export type PrimaryMessage =
  | StopMode
  | { readonly kind: 'settings', readonly settings: unknown }
  /** Asks whether the worker's event loop still turns. */
  | { readonly kind: 'ping' }
  /** Requests the worker's own metrics. */
  | { readonly kind: 'metrics', readonly id: number }
  /** The answer to `groupMetrics`; null where they could not be added up. */
  | { readonly kind: 'groupMetrics', readonly id: number, readonly text: string | null }

/** A primary that does not answer in this time may be busy or frozen. */
const GROUP_METRICS_TIMEOUT_MS = 2000

/** Connects a process that a primary forked to that primary. @returns null in any other process */
export async function connectToPrimary<Settings> (): Promise<{ primary: Primary, settings: Settings } | null> {
  const number = Number(process.env[WORKER])
  if (!cluster.isWorker || !(number > 0)) return null
  // Processes that this one starts are not workers.
  delete process.env[WORKER]
  const primary = new Primary(number)
  return { primary, settings: await new Promise(resolve => primary.onSettings<Settings>(resolve)) }
}

/** The primary, as a worker sees it. */
export class Primary implements MetricsExchange {
  /** Number of this worker, from 1. If it dies, its replacement has the same number. */
  readonly number: number
  #useSettings: (settings: any) => void = () => {}
  #readMetrics: (() => Promise<ProcessMetrics>) | null = null
  readonly #pendingMetrics = new Map<number, (text: string | null) => void>()
  #lastId = 0
  #stopMode: StopMode | null = null
  #stop: (how: StopMode) => void = how => { this.#stopMode = how }

  constructor (number: number) {
    this.number = number
    process.on('message', (message: PrimaryMessage) => this.#receive(message))
    this.send({ kind: 'hello' })
  }

  send (message: WorkerMessage): void {
    // Without a callback a channel that has just closed would be an uncaught error.
    process.send?.(message, undefined, undefined, () => {})
  }

  /** Calls back with the settings each time they arrive: at the start, and after a change. */
  onSettings<Settings> (act: (settings: Settings) => void): void {
    this.#useSettings = act
  }

  /** Calls back when this worker is to stop; immediately if that was requested earlier. */
  onStop (act: (how: StopMode) => void): void {
    this.#stop = act
    if (this.#stopMode !== null) act(this.#stopMode)
  }

  /** Calls back when the channel to the primary is closed. */
  onGone (act: () => void): void {
    cluster.worker?.once('disconnect', () => {
      // Otherwise Node would end this process immediately.
      if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true
      act()
    })
  }

  provide (read: () => Promise<ProcessMetrics>): void {
    this.#readMetrics = read
  }

  async metricsOfAll (): Promise<string | null> {
    const id = ++this.#lastId
    return await new Promise(resolve => {
      const done = (text: string | null): void => {
        clearTimeout(timer)
        this.#pendingMetrics.delete(id)
        resolve(text)
      }
      const timer = setTimeout(done, GROUP_METRICS_TIMEOUT_MS, null)
      this.#pendingMetrics.set(id, done)
      this.send({ kind: 'groupMetrics', id })
    })
  }

  #receive (message: PrimaryMessage): void {
    if (typeof message === 'string') return this.#stop(message)
    switch (message.kind) {
      case 'settings': return this.#useSettings(message.settings)
      case 'ping': return this.send({ kind: 'pong' })
      case 'groupMetrics': return this.#pendingMetrics.get(message.id)?.(message.text)
      case 'metrics': void this.#sendMetrics(message.id)
    }
  }

  async #sendMetrics (id: number): Promise<void> {
    if (this.#readMetrics !== null) this.send({ kind: 'metrics', id, metrics: await this.#readMetrics().catch(() => null) })
  }
}
