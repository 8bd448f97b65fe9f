// One WebSocket connection. It joins all rooms in one message, because only the first join may carry a cursor.

import { endOfBye, endOfRefusal, entryOf, LOST, readAnswer, REFUSED_MS } from './wire.ts'
import type { Carrier, End } from './wire.ts'

/** The close code of a connection whose token has expired. */
const UNAUTHORIZED = 3000

export interface SocketCarrier extends Carrier {
  /** The WebSocket class: the browser's, or that of the package `ws`. */
  readonly Socket_: typeof WebSocket
  /** The query for what cannot send headers: a socket in a browser. */
  readonly ticket_: string
  /** The socket takes messages from now on. */
  onOpen_: (send: (message: object) => void) => void
}

export const runSocket = async (address: string, { wishes_, cursor_, extras_, request_, signal_, alive_, hear_, Socket_, ticket_, onOpen_ }: SocketCarrier): Promise<End> => await new Promise((resolve, reject) => {
  const socket = new Socket_(address.replace(/^http/, 'ws') + ticket_)
  let isOpen = false
  let isOver = false
  const leave = (): void => {
    isOver = true
    socket.onmessage = null
    socket.close()
  }
  signal_.addEventListener('abort', () => {
    reject(signal_.reason)
    leave()
  })
  // Node's own WebSocket has versions in which a refused handshake makes an error and no close. `ws` throws an error without a listener.
  socket.onerror = socket.onclose = (event: Event | CloseEvent) => {
    if (isOver) return
    isOver = true
    if (isOpen) resolve('code' in event && event.code === UNAUTHORIZED ? endOfBye('TOKEN_EXPIRED') : LOST)
    else reasonOf(address, request_).then(resolve, reject)
  }
  socket.onopen = () => {
    isOpen = true
    const send = (message: object): void => socket.send(JSON.stringify(message))
    // JSON leaves out undefined fields.
    send({ action: 'join', rooms: wishes_.map(entryOf), lastEventId: cursor_ || undefined, ...extras_ })
    onOpen_(send)
  }
  socket.onmessage = ({ data }) => {
    alive_()
    const end = hear_(() => JSON.parse(data), null)
    if (end === null) return
    resolve(end)
    leave()
  }
})

/** The WebSocket API hides why a handshake failed. A plain GET of the same address is refused for the same reason, or asked to upgrade. */
async function reasonOf (address: string, request: Carrier['request_']): Promise<End> {
  const answer = await readAnswer(await request(address))
  return answer.body.code !== 'UPGRADE_REQUIRED'
    ? endOfRefusal(answer)
    : {
        code: 'NO_UPGRADE',
        reason: `the gateway answers, but opens no WebSocket: CORS_ORIGINS does not list ${globalThis.location?.origin ?? 'this origin'}, or a proxy changes Host or Upgrade`,
        retryMs: REFUSED_MS
      }
}
