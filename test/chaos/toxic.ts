// A TCP proxy that harms what passes it, after toxiproxy's toxics. It stands between half of the clients and the gateway, or
// between the gateway and its Redis.

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Door } from '../client/proxy.ts'
import { freePort } from '../process/harness.ts'
import type { Test } from '../tools/daemon.ts'
import type { Random } from './random.ts'

/** What it does to bytes; none: it passes them. */
export interface Harm {
  /** Waits before it passes a piece. */
  readonly latencyMs?: () => number
  /** To clients, of each connection. */
  readonly bytesPerSecond?: number
  /** Passes pieces of so many bytes. */
  readonly slice?: () => number
  /** Cuts a connection when so many more bytes have gone to its client. */
  readonly cutAfter?: () => number
  /** Holds bytes to clients back until there are so many. */
  readonly buffer?: number
}

class Pair {
  readonly near: Socket
  readonly far: Socket
  /** Bytes to the client before it is cut. */
  left = Infinity
  /** To the client, held back. */
  held: Buffer = Buffer.alloc(0)

  constructor (near: Socket, far: Socket) {
    this.near = near
    this.far = far
  }

  release (): Buffer {
    const bytes = this.held
    this.held = Buffer.alloc(0)
    return bytes
  }
}

export class Toxic {
  readonly port: number
  harm: Harm = {}
  /** What it has done since it was last asked to `count`: bytes it harmed, connections it cut, connections it refused to carry. */
  harmed = 0
  cut = 0
  to: number
  readonly #pairs = new Set<Pair>()
  readonly #door: Door
  #isHanging = false
  #flowing: Promise<void> = Promise.resolve()
  #flow = (): void => {}

  private constructor (port: number, to: number) {
    this.port = port
    this.to = to
    this.#door = new Door(port, near => this.#carry(near))
  }

  static async start (t: Test, to: number): Promise<Toxic> {
    const toxic = new Toxic(await freePort(), to)
    await toxic.up()
    t.teardown(async () => await toxic.down())
    return toxic
  }

  get connections (): number {
    return this.#pairs.size
  }

  async up (): Promise<void> {
    await this.#door.open()
  }

  /** Listens no longer, and resets all connections. */
  async down (): Promise<void> {
    await this.#door.close(() => {
      this.reset()
      this.flow()
    })
  }

  count (): void {
    this.harmed = this.cut = 0
  }

  /** TCP resets, to both sides. */
  reset (): void {
    for (const { near, far } of this.#pairs) {
      this.cut++
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
  }

  /** Clients lose their connections; the gateway is not told, and hears no more of them. @returns how many */
  halve (share: number, random: Random): number {
    const pairs = [...this.#pairs].filter(() => random.chance(share))
    for (const { near, far } of pairs) {
      this.cut++
      far.pause()
      far.removeAllListeners('end')
      near.destroy()
    }
    return pairs.length
  }

  /** Nothing passes, and nothing is closed: as a network that drops every packet. */
  hang (): void {
    if (this.#isHanging) return
    this.#isHanging = true
    this.#flowing = new Promise(resolve => { this.#flow = resolve })
  }

  flow (): void {
    this.#isHanging = false
    this.#flow()
  }

  heal (): void {
    this.harm = {}
    for (const pair of this.#pairs) if (!pair.near.destroyed) pair.near.write(pair.release())
    this.flow()
  }

  #carry (near: Socket): void {
    const far = connect(this.to, '127.0.0.1')
    const pair = new Pair(near, far)
    this.#pairs.add(pair)
    for (const socket of [near, far]) socket.setNoDelay(true).on('error', () => {}).on('close', () => this.#pairs.delete(pair))
    near.on('close', () => { if (!far.isPaused()) far.destroySoon() })
    far.on('close', () => near.destroySoon())
    void this.#pump(near, far, pair, false)
    void this.#pump(far, near, pair, true)
  }

  async #pump (from: Socket, to: Socket, pair: Pair, toClient: boolean): Promise<void> {
    try {
      for await (const data of from as AsyncIterable<Buffer>) {
        if (this.#isHanging) {
          this.harmed += data.length
          await this.#flowing
        }
        const { latencyMs, bytesPerSecond, buffer, cutAfter } = this.harm
        if (latencyMs !== undefined || bytesPerSecond !== undefined) {
          this.harmed += data.length
          await delay((latencyMs?.() ?? 0) + (toClient && bytesPerSecond !== undefined ? data.length / bytesPerSecond * 1000 : 0))
        }
        if (toClient) pair.held = Buffer.concat([pair.held, data])
        if (toClient && buffer !== undefined && pair.held.length < buffer) {
          this.harmed += data.length
          continue
        }
        const bytes = toClient ? pair.release() : data
        if (toClient && cutAfter !== undefined) {
          pair.left = Math.min(pair.left, cutAfter())
          if (bytes.length >= pair.left) {
            this.cut++
            await this.#write(to, bytes.subarray(0, pair.left))
            to.end()
            from.destroy()
            return
          }
          pair.left -= bytes.length
        } else pair.left = Infinity
        await this.#write(to, bytes)
      }
    } catch {}
    if (toClient && !to.destroyed) to.write(pair.release())
    to.end()
  }

  async #write (to: Socket, data: Buffer): Promise<void> {
    const { slice } = this.harm
    for (let start = 0; start < data.length && !to.destroyed;) {
      const end = slice === undefined ? data.length : Math.min(data.length, start + slice())
      if (slice !== undefined) this.harmed += end - start
      if (!to.write(data.subarray(start, end))) await new Promise<void>(resolve => { to.once('drain', resolve).once('close', resolve) })
      else if (slice !== undefined) await new Promise(resolve => setImmediate(resolve))
      start = end
    }
  }
}
