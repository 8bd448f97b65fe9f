// One WebSocket connection. It joins all rooms in one message, because only the first join may carry a cursor.

import { deliveryOf, endOfBye, endOfRefusal, LOST, readAnswer, REFUSED_MS } from './wire.ts'
import type { End, GatewayAnswer, Hello, Transport, TransportOptions } from './wire.ts'

const JOIN = 'join'
/** The close code of a connection whose token has expired. */
const UNAUTHORIZED = 3000

/** @param Socket the WebSocket class: the browser's, or that of the package `ws` */
export function socketTransport (Socket: typeof WebSocket): Transport {
  return (address, options) => new Promise<End>((resolve, reject) => {
    const socket = new Socket(address.replace(/^http/, 'ws') + options.ticket)
    let isOpen = false
    let isOver = false
    const end = (why: End): void => {
      resolve(why)
      leave()
    }
    const leave = (): void => {
      isOver = true
      socket.onmessage = null
      socket.close()
    }
    const { signal } = options
    signal.addEventListener('abort', () => {
      reject(signal.reason)
      leave()
    })
    // Node's own WebSocket has versions in which a refused handshake makes an error and no close. `ws` throws an error without a listener.
    socket.onerror = socket.onclose = (event: Event | CloseEvent) => {
      if (isOver) return
      isOver = true
      if (isOpen) resolve('code' in event && event.code === UNAUTHORIZED ? endOfBye({ reason: 'TOKEN_EXPIRED' }) : LOST)
      else reasonOf(address, options).then(resolve, reject)
    }
    socket.onopen = () => {
      isOpen = true
      const send = (message: object): void => socket.send(JSON.stringify(message))
      send(joinOf(options))
      options.onOpen(send)
    }
    let hello: Partial<Hello> = {}
    socket.onmessage = ({ data: text }) => {
      options.alive()
      try {
        read(JSON.parse(String(text)))
      } catch {
        const why = options.unreadable(null)
        if (why !== null) end(why)
      }
    }
    const read = ({ event, id, data, ref }: any): void => {
      switch (event) {
        case 'hello':
          hello = data
          break
        case 'bye':
          end(endOfBye(data))
          break
        case 'result':
        case 'error': {
          const answer: GatewayAnswer = { status: data.statusCode ?? (data.status === 'running' ? 202 : 200), body: data, retryMs: data.retryMs }
          if (ref !== JOIN && ref !== undefined) options.onAnswer(ref, answer)
          else if (event === 'error') {
            if (answer.status === 401) options.forget()
            end(endOfRefusal(answer))
          }
          break
        }
        default: {
          const delivery = event === 'joined'
            ? deliveryOf('hello', { ...hello, position: data.position }, data.cursor)
            : deliveryOf(event, data, id ?? data?.cursor ?? null)
          if (delivery !== null) options.deliver(delivery)
        }
      }
    }
  })
}

/** The WebSocket API hides why a handshake failed. A plain GET of the same address is refused for the same reason, or asked to upgrade. */
async function reasonOf (address: string, { request }: TransportOptions): Promise<End> {
  const answer = await readAnswer(await request(address))
  if (answer.body.code !== 'UPGRADE_REQUIRED') return endOfRefusal(answer)
  const page = globalThis.location?.origin
  return { code: 'NO_UPGRADE', reason: `the gateway answers, but opens no WebSocket: its CORS_ORIGINS must list ${page ?? "the client's origin"}, or a proxy changes Host or does not pass Upgrade`, retryMs: REFUSED_MS }
}

function joinOf ({ rooms, types, cursor }: TransportOptions): object {
  return {
    action: 'join',
    ref: JOIN,
    // JSON leaves out undefined fields.
    rooms: rooms.length === 0 ? undefined : rooms,
    types: types.length === 0 ? undefined : types,
    lastEventId: cursor || undefined
  }
}
