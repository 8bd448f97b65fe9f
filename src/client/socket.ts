// The WebSocket: all rooms are joined in one message, since a cursor counts in the first join only.

import { endOfBye, endOfRefusal } from './wire.ts'
import type { Answer, Call, End, Hello, Message, Transport } from './wire.ts'

const JOIN = 'join'

/** @param Socket the class to connect with: the browser's own, or that of `ws` */
export function hearSocket (Socket: typeof WebSocket): Transport {
  return (address, call) => new Promise<End>((resolve, reject) => {
    const socket = new Socket(address.replace(/^http/, 'ws'))
    const end = (why: End): void => {
      resolve(why)
      leave()
    }
    const leave = (): void => {
      socket.onmessage = null
      socket.close()
    }
    const { signal } = call
    signal.addEventListener('abort', () => {
      reject(signal.reason)
      leave()
    })
    // What it was is told by the close behind it.
    socket.onerror = () => {}
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`))
    socket.onopen = () => {
      const send = (message: object): void => socket.send(JSON.stringify(message))
      send(joinOf(call))
      call.speak(send)
    }
    let hello: Partial<Hello> = {}
    socket.onmessage = ({ data: text }) => {
      call.alive()
      const { event, id, data, ref } = JSON.parse(String(text))
      switch (event) {
        case 'hello':
          hello = data
          break
        case 'joined':
          call.take({ kind: 'hello', data: { ...hello as Hello, position: data.position }, cursor: data.cursor })
          break
        case 'bye':
          end(endOfBye(data))
          break
        case 'result':
        case 'error': {
          const answer: Answer = { status: data.statusCode ?? (data.status === 'running' ? 202 : 200), body: data, retryMs: data.retryMs }
          if (ref !== JOIN && ref !== undefined) call.answer(ref, answer)
          else if (event === 'error') end(endOfRefusal(answer))
          break
        }
        case 'events':
        case 'reset':
        case 'ready':
          call.take({ kind: event, data, cursor: id ?? data.cursor } as Message)
      }
    }
  })
}

function joinOf ({ rooms, types, cursor }: Call): object {
  return {
    action: 'join',
    ref: JOIN,
    // What is undefined does not go into the text.
    rooms: rooms.length === 0 ? undefined : rooms,
    types: types.length === 0 ? undefined : types,
    lastEventId: cursor === '' ? undefined : cursor
  }
}
