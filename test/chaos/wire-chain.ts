// A client that speaks the wire itself: what it writes down has passed through none of the product's code.

import { setTimeout as delay } from 'node:timers/promises'
import type { Event } from '../../src/core/event.ts'
import { mergePatch } from '../page.ts'
import { WireClient } from '../wire/client.ts'
import type { Arrived } from '../wire/client.ts'
import { authHeaders } from './auth.ts'
import { Chain, SILENT_MS } from './chain.ts'
import type { Profile, ResetReason } from './history.ts'

const OPEN_MS = 8000
const AGAIN_MS = [30, 400] as const

type Notice = Record<string, any>

export class WireChain extends Chain {
  #profile: Profile = 'SSE'
  #cursor: string | null = null
  #client: WireClient | null = null
  #loop: Promise<void> = Promise.resolve()
  readonly #values = new Map<string, unknown>()

  start (): void {
    this.#profile = this.plan.profile
    this.#loop = this.#run()
  }

  async stop (): Promise<void> {
    this.stopped = true
    this.#client?.cut()
    await this.#loop
  }

  async #run (): Promise<void> {
    while (!this.stopped) {
      await this.#connect()
      if (!this.stopped) await delay(AGAIN_MS[0] + Math.random() * (AGAIN_MS[1] - AGAIN_MS[0]))
    }
  }

  async #connect (): Promise<void> {
    const { name: chain, rooms, compressed, patch, paceMs, port, auth } = this.plan
    const profile = this.#profile
    const headers = await authHeaders(auth)
    this.history.write({ f: 'connect', type: 'invoke', chain, profile, rooms: [...rooms], ...(this.#cursor === null ? {} : { cursor: this.#cursor }) })
    let session = ''
    let head: string | undefined
    let isOpen = false
    let bye: string | undefined
    const joined = (position: 'new' | 'resumed' | 'reset'): void => {
      isOpen = true
      this.history.write({ f: 'connect', type: 'ok', chain, session, position, ...(head === undefined ? {} : { head }) })
    }
    const take = (message: Arrived): void => {
      const data = (message as Notice).data as Notice
      if (message.kind === 'hello' || (message.kind === 'joined' && profile === 'SSE')) ({ session, head } = data as { session: string, head?: string })
      if (message.kind === 'joined' && !isOpen) joined(message.position)
      if (message.kind === 'bye') bye = data.reason
      if (message.kind === 'error') bye = data.code
      this.#take(message)
    }
    const opening = WireClient.open(profile, port, {
      rooms,
      cursor: this.#cursor,
      compressed,
      onMessage: take,
      ...(patch ? { patch: 'merge' } : {}),
      ...(paceMs > 0 ? { paceMs } : {}),
      headers
    })
    let client: WireClient | null
    try {
      client = await Promise.race([opening, delay(OPEN_MS, null, { ref: false })])
    } catch (error) {
      this.history.write({ f: 'connect', type: 'fail', chain, code: (error as NodeJS.ErrnoException).code ?? 'LOST' })
      return
    }
    if (client === null) {
      opening.then(late => late.cut(), () => {})
      this.history.write({ f: 'connect', type: 'info', chain, why: 'no answer' })
      return
    }
    this.#client = client
    const by = await this.#follow(client)
    if (by === 'client' && !this.stopped) bye ??= 'silent'
    const status = /^HTTP\/1.1 (\d+)/.exec(client.head)?.[1]
    const code = client.closeCode
    if (isOpen) this.history.write({ f: 'close', chain, by, ...(bye === undefined ? {} : { reason: bye }), ...(code === null ? {} : { code }) })
    else if ((bye !== undefined && bye !== 'silent') || (status !== undefined && !['101', '200'].includes(status))) this.history.write({ f: 'connect', type: 'fail', chain, code: bye ?? status ?? '' })
    else this.history.write({ f: 'connect', type: 'info', chain, why: by === 'client' ? 'silent' : 'cut' })
    if (status === '404' || bye === 'PROFILE_NOT_MOUNTED' || bye === 'SWITCHED') this.#profile = profile === 'SSE' ? 'WEBSOCKET' : 'SSE'
  }

  /** @returns who ended the connection */
  async #follow (client: WireClient): Promise<'server' | 'client'> {
    let heardAt = performance.now()
    client.socket.on('data', () => { heardAt = performance.now() })
    // A refusal leaves the connection open.
    const isRefused = (): boolean => client.head !== '' && (!/^HTTP\/1.1 (101|200) /.test(client.head) || /\r\ncontent-length:/i.test(client.head))
    let by: 'server' | 'client' = 'server'
    const watch = setInterval(() => {
      if (!this.stopped && performance.now() - heardAt < SILENT_MS && !isRefused()) return
      if (!isRefused()) by = 'client'
      client.cut()
      client.socket.emit('close')
    }, 250)
    if (!client.closed) await new Promise(resolve => client.socket.once('close', resolve))
    clearInterval(watch)
    client.cut()
    if (this.stopped) by = 'client'
    return by
  }

  #take (message: Arrived): void {
    if (message.cursor !== null) this.#cursor = message.cursor
    if (message.kind === 'ready') this.takeReady(message.rooms)
    if (message.kind === 'reset') {
      const { reason, rooms, missed } = message
      this.history.write({ f: 'reset', chain: this.plan.name, reason: reason as ResetReason, rooms: [...rooms], missed })
      for (const room of rooms) for (const field of [...this.#values.keys()]) if (field.startsWith(`${room} `)) this.#values.delete(field)
    }
    if (message.kind !== 'bundle') return
    this.nextBundle()
    for (const event of message.events) this.#takeEvent(event)
  }

  #takeEvent (event: Event & { readonly patch?: unknown }): void {
    if (event.key === undefined || !this.plan.patch) return this.takeEvent(event)
    const field = `${event.room ?? '@public'} ${event.type} ${event.key}`
    const patched = 'patch' in event
    const data = patched ? mergePatch(this.#values.get(field), event.patch) : event.data
    this.#values.set(field, data)
    this.takeEvent({ ...event, data }, patched)
  }
}
