// A worker's side of the channel to its primary (workers.ts), and what the two say to each other.

import cluster from 'node:cluster'
import type { Figures } from '../app/group-metrics.ts'
import type { Neighbours } from '../app/metrics.ts'

/** The environment variable that makes a process a worker of ours, and says which; foreign clusters fork too. */
export const WORKER = 'SIGNALBOX_WORKER'

export type ToPrimary =
  /** It hears now, and asks for its settings. What it was told before is lost: so it is told nothing before. */
  | { readonly kind: 'hello' }
  | { readonly kind: 'listens', readonly url: string }
  /** It has read the log. */
  | { readonly kind: 'ready' }
  /** The whole deployment was told to end. */
  | { readonly kind: 'shutdown' }
  /** The settings of all were changed. */
  | { readonly kind: 'tuned', readonly changes: Record<string, unknown> }
  /** Asks for the metrics of all workers. */
  | { readonly kind: 'metrics', readonly id: number }
  /** Answers with its own; null where they could not be read. */
  | { readonly kind: 'figures', readonly id: number, readonly figures: Figures | null }

/** Drain and end; `retire`: while others take its connections. */
export type Dismissal = 'shutdown' | 'retire'

export type ToWorker =
  | Dismissal
  | { readonly kind: 'settings', readonly settings: unknown }
  | { readonly kind: 'figures', readonly id: number }
  /** Null where they could not be added up. */
  | { readonly kind: 'metrics', readonly id: number, readonly text: string | null }

/** A primary that does not answer may be busy, or frozen. */
const PATIENCE_MS = 2000

/** Makes this process the worker it was started as. @returns null where it was not */
export async function joinPrimary<Settings> (): Promise<{ primary: Primary, settings: Settings } | null> {
  const number = Number(process.env[WORKER])
  if (!cluster.isWorker || !(number > 0)) return null
  // What this process starts is no worker.
  delete process.env[WORKER]
  const primary = new Primary(number)
  return { primary, settings: await new Promise(resolve => primary.onSettings<Settings>(resolve)) }
}

export class Primary implements Neighbours {
  /** Which worker this is, from 1; the one that follows it when it has died has the same. */
  readonly number: number
  #useSettings: (settings: any) => void = () => {}
  #figures: (() => Promise<Figures>) | null = null
  readonly #asked = new Map<number, (text: string | null) => void>()
  #lastId = 0
  #dismissed: Dismissal | null = null
  #dismiss: (how: Dismissal) => void = how => { this.#dismissed = how }

  constructor (number: number) {
    this.number = number
    process.on('message', (message: ToWorker) => this.#hears(message))
    this.tell({ kind: 'hello' })
  }

  tell (message: ToPrimary): void {
    // Without the callback a channel that has just closed would be an error nobody catches.
    process.send?.(message, undefined, undefined, () => {})
  }

  /** Calls back with the settings whenever they come: at the start, and where they were changed since. */
  onSettings<Settings> (act: (settings: Settings) => void): void {
    this.#useSettings = act
  }

  /** Calls back when this worker is to end, at once where it was told so already. */
  onDismissal (act: (how: Dismissal) => void): void {
    this.#dismiss = act
    if (this.#dismissed !== null) act(this.#dismissed)
  }

  /** Calls back when the primary is gone. */
  onGone (act: () => void): void {
    cluster.worker?.once('disconnect', () => {
      // Node would end this process here and now.
      if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true
      act()
    })
  }

  shareFigures (read: () => Promise<Figures>): void {
    this.#figures = read
  }

  async metrics (): Promise<string | null> {
    const id = ++this.#lastId
    return await new Promise(resolve => {
      const done = (text: string | null): void => {
        clearTimeout(timer)
        this.#asked.delete(id)
        resolve(text)
      }
      const timer = setTimeout(done, PATIENCE_MS, null)
      this.#asked.set(id, done)
      this.tell({ kind: 'metrics', id })
    })
  }

  #hears (message: ToWorker): void {
    if (typeof message === 'string') return this.#dismiss(message)
    switch (message.kind) {
      case 'settings': return this.#useSettings(message.settings)
      case 'metrics': return this.#asked.get(message.id)?.(message.text)
      case 'figures': void this.#answer(message.id)
    }
  }

  async #answer (id: number): Promise<void> {
    if (this.#figures !== null) this.tell({ kind: 'figures', id, figures: await this.#figures().catch(() => null) })
  }
}
