// Our client library as a client of a chaos run: what it hands to its listeners is written down.

import { connect } from '../../src/client/node.ts'
import type { Box, Status } from '../../src/client/node.ts'
import { tokenOf } from './auth.ts'
import { Chain } from './chain.ts'
import type { Profile, ResetReason } from './history.ts'

/** Its own words for what sockets call by many names; the gateway has not said them. */
const NO_ANSWER = ['UNREACHABLE', 'NO_UPGRADE', 'NO_ANSWER']

export class LibraryChain extends Chain {
  #box: Box | null = null
  #profile: Profile = 'SSE'
  /** Between a `connect` and how it ended. */
  #isTrying = false

  start (): void {
    const { port, rooms, paceMs, auth, profile } = this.plan
    this.#profile = profile
    this.#try('')
    const box = connect(`http://127.0.0.1:${port}`, { rooms, ...(paceMs > 0 ? { paceMs } : {}), ...(auth === undefined ? {} : { token: async () => await tokenOf(auth) }) })
    this.#box = box
    const chain = this.plan.name
    box.on('status', status => this.#turn(status))
    box.on('hello', ({ profile, session, position, head }) => {
      this.#profile = profile
      this.#isTrying = false
      this.isConnected = true
      this.history.write({ f: 'connect', type: 'ok', chain, session, position, ...(head === undefined ? {} : { head }) })
    })
    box.on('ready', ({ rooms }) => this.takeReady(rooms))
    box.on('reset', ({ reason, rooms, missed }) => this.history.write({ f: 'reset', chain, reason: reason as ResetReason, rooms: [...rooms], missed }))
    box.on('error', ({ code, reason }) => { throw new Error(`${chain}: ${code} ${reason}`) })
    box.on('event', event => {
      // It does not say which events came together.
      this.nextBundle()
      this.takeEvent(event)
    })
  }

  async stop (): Promise<void> {
    this.stopped = true
    this.#end('client')
    this.#box?.close()
  }

  #turn (status: Status): void {
    if (status.state === 'refused') throw new Error(`${this.plan.name} was refused: ${status.code} ${status.reason}`)
    if (this.stopped || (status.state !== 'stale' && status.state !== 'connecting') || status.reason === undefined) return
    this.#end(status.code === 'SILENT' ? 'client' : 'server', NO_ANSWER.includes(status.code as string) ? 'no answer' : status.code)
    if (status.retryMs === null) this.#try(this.#box?.lastEventId ?? '')
  }

  #try (cursor: string): void {
    if (this.#isTrying) return
    this.#isTrying = true
    this.history.write({ f: 'connect', type: 'invoke', chain: this.plan.name, profile: this.#profile, rooms: [...this.plan.rooms], ...(cursor === '' ? {} : { cursor }) })
  }

  #end (by: 'server' | 'client', reason?: string): void {
    const { name: chain } = this.plan
    if (this.isConnected) this.history.write({ f: 'close', chain, by, ...(reason === undefined ? {} : { reason }) })
    else if (this.#isTrying) this.history.write({ f: 'connect', type: 'info', chain, why: reason ?? 'CLOSED' })
    this.isConnected = false
    this.#isTrying = false
  }
}
