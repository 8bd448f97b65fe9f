// A worker's side of the channel to its primary (workers.ts), and what the two say to each other.

import cluster from 'node:cluster'
import type { ProcessMetrics } from '../app/group-metrics.ts'
import type { MetricsExchange } from '../app/metrics.ts'

/** The environment variable that makes a process a worker of ours, and says which; foreign clusters fork too. */
export const WORKER = 'SIGNALBOX_WORKER'

export type WorkerMessage =
  /** It hears now, and asks for its settings. What it was told before is lost: so it is told nothing before. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'listening', readonly url: string }
  /** It has read the log. */
  | { readonly kind: 'ready' }
  /** The whole deployment was told to end. */
  | { readonly kind: 'shutdown' }
  /** The settings of all were changed. */
  | { readonly kind: 'tuned', readonly changes: Record<string, unknown> }
  /** Asks for the metrics of all workers. */
  | { readonly kind: 'groupMetrics', readonly id: number }
  /** Answers with its own; null where they could not be read. */
  | { readonly kind: 'metrics', readonly id: number, readonly metrics: ProcessMetrics | null }

/** Drain and end; `retire`: while others take its connections. */
export type StopMode = 'shutdown' | 'retire'

export type PrimaryMessage =
  | StopMode
  | { readonly kind: 'settings', readonly settings: unknown }
  | { readonly kind: 'metrics', readonly id: number }
  /** Null where they could not be added up. */
  | { readonly kind: 'groupMetrics', readonly id: number, readonly text: string | null }

/** A primary that does not answer may be busy, or frozen. */
const METRICS_TIMEOUT_MS = 2000

/** Makes this process the worker it was started as. @returns null where it was not */
export async function connectToPrimary<Settings> (): Promise<{ primary: Primary, settings: Settings } | null> {
  const number = Number(process.env[WORKER])
  if (!cluster.isWorker || !(number > 0)) return null
  // What this process starts is no worker.
  delete process.env[WORKER]
  const primary = new Primary(number)
  return { primary, settings: await new Promise(resolve => primary.onSettings<Settings>(resolve)) }
}

export class Primary implements MetricsExchange {
  /** Which worker this is, from 1; the one that follows it when it has died has the same. */
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
    // Without the callback a channel that has just closed would be an error nobody catches.
    process.send?.(message, undefined, undefined, () => {})
  }

  /** Calls back with the settings whenever they come: at the start, and where they were changed since. */
  onSettings<Settings> (act: (settings: Settings) => void): void {
    this.#useSettings = act
  }

  /** Calls back when this worker is to end, at once where it was told so already. */
  onStop (act: (how: StopMode) => void): void {
    this.#stop = act
    if (this.#stopMode !== null) act(this.#stopMode)
  }

  /** Calls back when the primary is gone. */
  onGone (act: () => void): void {
    cluster.worker?.once('disconnect', () => {
      // Node would end this process here and now.
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
      const timer = setTimeout(done, METRICS_TIMEOUT_MS, null)
      this.#pendingMetrics.set(id, done)
      this.send({ kind: 'groupMetrics', id })
    })
  }

  #receive (message: PrimaryMessage): void {
    if (typeof message === 'string') return this.#stop(message)
    switch (message.kind) {
      case 'settings': return this.#useSettings(message.settings)
      case 'groupMetrics': return this.#pendingMetrics.get(message.id)?.(message.text)
      case 'metrics': void this.#sendMetrics(message.id)
    }
  }

  async #sendMetrics (id: number): Promise<void> {
    if (this.#readMetrics !== null) this.send({ kind: 'metrics', id, metrics: await this.#readMetrics().catch(() => null) })
  }
}
