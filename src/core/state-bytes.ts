// How much the present values take (STATE_BYTES). History is trimmed by itself and values are not: a publisher that gives
// each event a key of its own would otherwise fill the heap, and every restart after it.

import { Refusal } from './errors.ts'
import { fieldOf, SYSTEM } from './event.ts'
import type { Draft, Entry } from './event.ts'

/** What keeping a value takes besides its text, in the core and in the embedded store: 495 bytes, measured. */
const VALUE_BYTES = 500
/** Bytes of `{"id":"` and `",`: an id adds nothing, or a value could not replace one of its own size. */
const AROUND_ID = 9
/** Naming the largest room takes a walk over all of them. */
const LOOK_MS = 1000

/** Bytes a present value takes. */
export const valueBytes = ({ id, json, size }: Entry): number => textBytes(json.length - id.length - AROUND_ID, size - id.length - AROUND_ID)

const draftBytes = ({ tail }: Draft): number => textBytes(tail.length, Buffer.byteLength(tail))

/** V8 keeps a text with one letter beyond Latin-1 at two bytes a character. */
const textBytes = (characters: number, bytes: number): number => VALUE_BYTES + (bytes === characters ? bytes : Math.max(bytes, 2 * characters))

/** A room, as far as its values go. */
interface Holder {
  readonly name: string
  readonly keys: number
  readonly stateBytes: number
  value (field: string): Entry | undefined
}

export interface StateBudgetOptions {
  readonly clock: { now (): number }
  readonly rooms: Iterable<Holder> & { readonly stateBytes: number, get (name: string): Holder | undefined }
  readonly limits: () => { readonly stateBytes: number }
}

export class StateBudget {
  readonly #options: StateBudgetOptions
  /** What publishes on their way will add. */
  #coming = 0
  #largest: { readonly name: string, readonly keys: number, readonly bytes: number } | null = null
  #lookedAt = -Infinity

  constructor (options: StateBudgetOptions) {
    this.#options = options
  }

  /**
   * Checks that the values of a publish fit, and counts what they add while it is on its way. What adds nothing always
   * fits: deletions, and values no larger than those they replace.
   * @param mayKnow whether the publisher may know that a room exists
   * @returns the bytes, for `release`
   * @throws Refusal STATE_FULL
   */
  reserve (drafts: readonly Draft[], mayKnow: (room: string) => boolean): number {
    const growth = Math.max(0, this.#growthBy(drafts))
    const { rooms, limits } = this.#options
    const limit = limits().stateBytes
    if (limit > 0 && growth > 0 && rooms.stateBytes + this.#coming + growth > limit) {
      throw new Refusal('STATE_FULL', `present values may take ${limit} bytes (STATE_BYTES), and this would add ${growth}; ${this.#nameLargest(mayKnow)}: delete keys (the command clear), publish without a key, or raise STATE_BYTES`)
    }
    this.#coming += growth
    return growth
  }

  /** The publish has arrived or failed. */
  release (bytes: number): void {
    this.#coming -= bytes
  }

  #growthBy (drafts: readonly Draft[]): number {
    let growth = 0
    // Of several values of a key only the last one stays.
    const seen = drafts.length > 1 ? new Set<string>() : null
    for (let index = drafts.length - 1; index >= 0; index--) {
      const draft = drafts[index] as Draft
      if (draft.key === null) continue
      const field = fieldOf(draft)
      if (seen !== null) {
        const name = `${draft.room}\0${field}`
        if (seen.has(name)) continue
        seen.add(name)
      }
      const before = this.#options.rooms.get(draft.room)?.value(field)
      growth += (draft.deletion ? 0 : draftBytes(draft)) - (before === undefined ? 0 : valueBytes(before))
    }
    return growth
  }

  #nameLargest (mayKnow: (room: string) => boolean): string {
    const { clock, rooms } = this.#options
    if (clock.now() - this.#lookedAt >= LOOK_MS) {
      this.#lookedAt = clock.now()
      this.#largest = null
      for (const { name, keys, stateBytes: bytes } of rooms) if (name !== SYSTEM && bytes > (this.#largest?.bytes ?? 0)) this.#largest = { name, keys, bytes }
    }
    if (this.#largest === null) return 'nothing is kept yet'
    const { name, keys, bytes } = this.#largest
    return mayKnow(name) ? `room ${name} has the most, ${bytes} bytes in ${keys} keys` : 'another room has the most'
  }
}
