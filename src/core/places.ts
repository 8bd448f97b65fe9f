// The places for connections: of this process, of an address, of a subject.

import { Refusal } from './errors.ts'
import type { Identity } from './identity.ts'
import type { Limits } from './limits.ts'

export class Places {
  readonly #limits: () => Limits
  #taken = 0
  readonly #byAddress = new Map<string, number>()
  readonly #bySubject = new Map<string, number>()

  constructor (limits: () => Limits) {
    this.#limits = limits
  }

  /** @throws Refusal OVERLOADED (MAX_CLIENTS), RATE_LIMITED (MAX_CLIENTS_PER_IP, MAX_CLIENTS_PER_SUBJECT) */
  check ({ address, caller, subject }: Identity): void {
    const { maxClients, maxClientsPerIp, maxClientsPerSubject } = this.#limits()
    if (isFull(this.#taken, maxClients)) throw new Refusal('OVERLOADED', `all ${maxClients} connections are taken (MAX_CLIENTS); try again later`, { bound: 'clients' })
    if (isFull(this.#byAddress.get(address), maxClientsPerIp)) {
      throw new Refusal('RATE_LIMITED', `an address may hold ${maxClientsPerIp} connections (MAX_CLIENTS_PER_IP)`, { bound: 'address' })
    }
    if (subject !== null && isFull(this.#bySubject.get(caller), maxClientsPerSubject)) {
      throw new Refusal('RATE_LIMITED', `a subject may hold ${maxClientsPerSubject} connections (MAX_CLIENTS_PER_SUBJECT)`, { bound: 'subject' })
    }
  }

  take (identity: Identity): void {
    this.#count(identity, 1)
  }

  give (identity: Identity): void {
    this.#count(identity, -1)
  }

  #count ({ address, caller, subject }: Identity, step: number): void {
    this.#taken += step
    add(this.#byAddress, address, step)
    if (subject !== null) add(this.#bySubject, caller, step)
  }
}

const isFull = (count: number | undefined, max: number): boolean => max > 0 && (count ?? 0) >= max

function add (counts: Map<string, number>, name: string, step: number): void {
  const count = (counts.get(name) ?? 0) + step
  if (count === 0) counts.delete(name)
  else counts.set(name, count)
}
