// A client that reads without a stream: each read waits until something is new, and the next goes on from its cursor.

import { Agent, get } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Event } from '../../src/core/event.ts'
import { authHeaders } from './auth.ts'
import { Chain, SILENT_MS } from './chain.ts'
import type { ResetReason } from './history.ts'

const WAIT_S = 3

interface Answer {
  readonly position: 'new' | 'resumed' | 'reset'
  readonly cursor: string
  readonly reset: { readonly reason: ResetReason, readonly missed: number | null } | null
  readonly more: boolean
  readonly events: readonly Event[]
}

export class ReadChain extends Chain {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  readonly #ending = new AbortController()
  #cursor: string | null = null
  #loop: Promise<void> = Promise.resolve()

  start (): void {
    this.#loop = this.#run()
  }

  async stop (): Promise<void> {
    this.stopped = true
    this.#ending.abort()
    await this.#loop
    this.#agent.destroy()
  }

  async #run (): Promise<void> {
    while (!this.stopped) {
      this.isConnected = await this.#read()
      if (!this.isConnected) await delay(30 + Math.random() * 370)
    }
  }

  async #read (): Promise<boolean> {
    const { name: chain, rooms } = this.plan
    const room = rooms[0] as string
    this.history.write({ f: 'read', type: 'invoke', chain, room, ...(this.#cursor === null ? {} : { cursor: this.#cursor }) })
    try {
      const { status, text } = await this.#get(room)
      if (status !== 200) {
        this.history.write({ f: 'read', type: 'fail', chain, room, code: JSON.parse(text).code ?? String(status) })
        return false
      }
      const { position, cursor, reset, more, events }: Answer = JSON.parse(text)
      if (reset !== null) this.history.write({ f: 'reset', chain, reason: reset.reason, rooms: [room], missed: reset.missed })
      this.nextBundle()
      for (const event of events) this.takeEvent(event)
      this.history.write({ f: 'read', type: 'ok', chain, room, position, more, cursor })
      if (!more && !this.isReady) this.takeReady([room])
      this.#cursor = cursor
      return true
    } catch (error) {
      this.history.write({ f: 'read', type: 'info', chain, room, why: (error as NodeJS.ErrnoException).code ?? (error as Error).message })
      return false
    }
  }

  async #get (room: string): Promise<{ status: number, text: string }> {
    const query = new URLSearchParams({ rooms: room, ...(this.#cursor === null ? {} : { lastEventId: this.#cursor }), wait: String(WAIT_S) })
    const { port, auth } = this.plan
    const headers = await authHeaders(auth)
    return await new Promise((resolve, reject) => {
      const request = get({ port, host: '127.0.0.1', path: `/api/events?${query}`, agent: this.#agent, headers, signal: this.#ending.signal }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', part => { text += part }).on('error', reject).on('close', () => {
          if (response.complete) resolve({ status: response.statusCode ?? 0, text })
          else reject(new Error('cut'))
        })
      }).on('error', reject)
      request.setTimeout(WAIT_S * 1000 + SILENT_MS, () => request.destroy(new Error('silent')))
    })
  }
}
