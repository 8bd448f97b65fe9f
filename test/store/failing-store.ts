// A store that fails where a test says so: as a store does that was not reached, or as one that did what it was asked and
// could not answer any more. Everything else goes to the store it wraps.

import { Refusal } from '../../src/core/errors.ts'
import type { Store } from '../../src/core/store.ts'

/** The methods that may fail. */
export type Fallible = 'sync' | 'append' | 'claim' | 'settle' | 'recall'

export interface Failure {
  /** How many calls fail from now on. Default: all, until `recover`. */
  readonly count?: number
  /** The call is carried out, and fails all the same: the caller cannot know whether it took effect. */
  readonly tookEffect?: boolean
}

interface Planned {
  readonly error: unknown
  readonly tookEffect: boolean
  left: number
}

const unavailable = (): Refusal => new Refusal('STORE_UNAVAILABLE', 'the store cannot be written to (the test says so)')

export class FailingStore implements Store {
  /** How often each method was called, failures included. */
  readonly calls: Record<Fallible, number> = { sync: 0, append: 0, claim: 0, settle: 0, recall: 0 }
  readonly #store: Store
  readonly #planned = new Map<Fallible, Planned>()

  constructor (store: Store) {
    this.#store = store
  }

  /** Lets a method fail. Takes the place of what was planned for it before. */
  fail (method: Fallible, error: unknown = unavailable(), { count = Infinity, tookEffect = false }: Failure = {}): void {
    this.#planned.set(method, { error, tookEffect, left: count })
  }

  /** Lets a method work again; without a name, all of them. */
  recover (method?: Fallible): void {
    if (method === undefined) this.#planned.clear()
    else this.#planned.delete(method)
  }

  get name (): string { return this.#store.name }
  get warnings (): readonly string[] { return this.#store.warnings }

  async follow (...args: Parameters<Store['follow']>): Promise<void> { await this.#store.follow(...args) }
  async close (): Promise<void> { await this.#store.close() }

  async sync (): ReturnType<Store['sync']> {
    await this.#call('sync', async () => await this.#store.sync())
  }

  async append (...args: Parameters<Store['append']>): ReturnType<Store['append']> {
    return await this.#call('append', async () => await this.#store.append(...args))
  }

  async claim (...args: Parameters<Store['claim']>): ReturnType<Store['claim']> {
    return await this.#call('claim', async () => await this.#store.claim(...args))
  }

  async settle (...args: Parameters<Store['settle']>): ReturnType<Store['settle']> {
    await this.#call('settle', async () => await this.#store.settle(...args))
  }

  async answered (...args: Parameters<Store['answered']>): ReturnType<Store['answered']> {
    return await this.#store.answered(...args)
  }

  async secret (): Promise<Uint8Array> {
    return await this.#store.secret()
  }

  async recall (...args: Parameters<Store['recall']>): ReturnType<Store['recall']> {
    return await this.#call('recall', async () => await this.#store.recall(...args))
  }

  async #call<T> (method: Fallible, act: () => Promise<T>): Promise<T> {
    this.calls[method]++
    const planned = this.#planned.get(method)
    if (planned === undefined || planned.left === 0) return await act()
    planned.left--
    if (planned.tookEffect) await act()
    throw planned.error
  }
}
