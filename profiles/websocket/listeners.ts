// The events of a socket, and the parts that they concern. One function serves all sockets for each event, and finds by `this` what
// belongs to its socket: closures of their own, and their scopes, were 1.3 of the 5.4 KB that an idle socket kept on the heap.

import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import type { Session } from '../../src/core/session.ts'
import type { WsConnection } from './connection.ts'
import type { Conversation } from './conversation.ts'
import type { Intake } from './intake.ts'

/** What belongs to one socket. */
export interface Client {
  readonly connection: WsConnection
  readonly session: Session
  readonly conversation: Conversation
  readonly intake: Intake
  /** Of all open sockets. */
  readonly connections: Set<WsConnection>
}

const CLIENT = Symbol('client')

interface Owned {
  readonly [CLIENT]: Client
}

/** Time for a client that still sends to read the close frame, ms. */
const CLOSE_MS = 5000

/** To be called at once: nobody else listens for errors. */
export function listenForErrors (socket: WebSocket): void {
  socket.on('error', onError)
}

/** @param raw the TCP socket below */
export function listen (socket: WebSocket, raw: Socket, client: Client): void {
  Object.assign(socket, { [CLIENT]: client })
  Object.assign(raw, { [CLIENT]: client })
  socket.on('message', onMessage)
  socket.on('ping', onPing)
  socket.on('pong', onPong)
  socket.on('close', onClose)
  // ws reads the same bytes before this listener is called.
  raw.on('data', onData)
  raw.on('drain', onDrain)
}

function onMessage (this: WebSocket, data: RawData, isBinary: boolean): void {
  const { intake, conversation } = clientOf(this)
  intake.noteMessage()
  conversation.receive(data, isBinary)
}

function onPing (this: WebSocket, payload: Buffer): void {
  clientOf(this).intake.notePing(payload)
}

function onPong (this: WebSocket, payload: Buffer): void {
  const { connection, intake } = clientOf(this)
  connection.notePong(payload)
  intake.notePong()
}

function onClose (this: WebSocket): void {
  const { connection, session, intake, connections } = clientOf(this)
  intake.end()
  session.end()
  connections.delete(connection)
}

/** A message could not be taken: ws has sent the close frame that says why, and now discards what still comes. */
function onError (this: WebSocket & Partial<Owned>, error: Error): void {
  setTimeout(() => this.terminate(), CLOSE_MS).unref()
  this[CLIENT]?.intake.noteError(error)
}

function onData (this: Socket): void {
  clientOf(this).intake.noteArrival()
}

function onDrain (this: Socket): void {
  const { session, intake } = clientOf(this)
  session.drained()
  intake.drained()
}

const clientOf = (owner: WebSocket | Socket): Client => (owner as unknown as Owned)[CLIENT]
