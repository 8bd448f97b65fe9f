// The refusals that both stores give, in the same words.

import { Refusal } from '../core/errors.ts'

/** @param why the cause, for operators and publishers */
export const unavailable = (why: string): Refusal =>
  new Refusal('STORE_UNAVAILABLE', `the store cannot be written to (${why}); whether this request took effect may be unknown: try again later, with the same Idempotency-Key`)

export const conflict = (): Refusal =>
  new Refusal('IDEMPOTENCY_CONFLICT', 'this Idempotency-Key was used before with another body; use a new key for a new request')

export const keysFull = (room: string): Refusal =>
  new Refusal('KEYS_FULL', `room ${room} has reached its limit of keys (MAX_KEYS_PER_ROOM): delete some, or publish without a key`)
