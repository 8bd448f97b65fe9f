// The door between a server of somebody else and the gateway behind it. The gateway's routes are those of a server of its own
// that never listens. It is handed the requests below a prefix, whole and unread, and so has its own parsers, hooks, limits
// and errors, whatever the server around it does with its other requests.

import { ServerResponse } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { answerBare } from '../app/errors.ts'
import { pathOf, patternOf } from '../app/methods.ts'
import { setMount } from '../app/mount.ts'
import { asksForSocket } from '../app/upgrade.ts'
import { Refusal } from '../core/errors.ts'

/** An address and where the gateway lies in it. */
interface Entrance {
  /** What the client sees before the gateway's own paths. */
  readonly mount: string
  /** The address for the gateway: begins with a slash. */
  readonly url: string
  /** The client asks for the mount itself without a slash at its end: relative addresses of a page there would miss it. */
  readonly isBare: boolean
}

export interface DoorOptions {
  /** The gateway's own server, ready. */
  readonly inner: FastifyInstance
  /** The path of the WebSocket among the gateway's; null while it is not mounted. */
  readonly socketPath: () => string | null
  /** Matches what stands before the gateway's own paths; null where nothing does. */
  readonly prefix: RegExp | null
  /** The paths of the gateway's routes. */
  readonly paths: Iterable<string>
  readonly log: Pick<FastifyBaseLogger, 'error'>
}

export class Door {
  readonly #options: DoorOptions
  readonly #patterns: readonly RegExp[]

  constructor (options: DoorOptions) {
    this.#options = options
    this.#patterns = [...options.paths].map(patternOf)
  }

  /** Whether a request is for the gateway. */
  isFor (request: IncomingMessage): boolean {
    return this.#entranceOf(request) !== null
  }

  /** @returns whether the request is for the gateway, which then answers it */
  handle (request: IncomingMessage, response: ServerResponse): boolean {
    const entrance = this.#entranceOf(request)
    if (entrance === null) return false
    if (entrance.isBare) {
      redirect(request, response)
      return true
    }
    // It would wait for a body that somebody else has taken.
    if (request.readableDidRead && hasBody(request)) {
      const text = `the body of ${request.method ?? ''} ${entrance.url.split('?', 1)[0] ?? ''} was read before signalbox got the request: mount signalbox before body parsers, or leave its prefix out of them`
      this.#options.log.error({}, text)
      answer(response, new Refusal('INTERNAL', text))
      return true
    }
    this.#enter(request, response, entrance)
    return true
  }

  /** Whether a request that offers to upgrade is the handshake of a WebSocket that the gateway takes. */
  takes (request: IncomingMessage): boolean {
    const entrance = this.#entranceOf(request)
    return entrance !== null && this.#isHandshake(request, entrance)
  }

  #isHandshake ({ method, headers }: IncomingMessage, { url }: Entrance): boolean {
    const path = this.#options.socketPath()
    return path !== null && asksForSocket({ method, headers, url }, path)
  }

  /** As `handle`, for the event `upgrade` of a server. */
  upgrade (request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const entrance = this.#entranceOf(request)
    if (entrance === null) return false
    const { inner: { server } } = this.#options
    if (this.#isHandshake(request, entrance)) {
      request.url = entrance.url
      setMount(request, entrance.mount)
      server.emit('upgrade', request, socket, head)
    } else {
      withoutOffer(request, socket, head)
    }
    return true
  }

  #enter (request: IncomingMessage, response: ServerResponse, { mount, url }: Entrance): void {
    const { url: before } = request
    request.url = url
    setMount(request, mount)
    // Who counts or logs the answer, outside, does so by the address as it was.
    response.prependOnceListener('finish', () => Object.assign(request, { url: before }))
    this.#options.inner.server.emit('request', request, response)
  }

  #entranceOf (request: IncomingMessage & { readonly originalUrl?: string }): Entrance | null {
    const { prefix } = this.#options
    const whole = inOriginForm(request.originalUrl ?? request.url)
    const stripped = inOriginForm(request.url)
    // Express and its like take the path they route by out of the address, and keep the whole.
    const mount = prefix === null ? '' : prefix.exec(whole)?.[0]
    if (mount === undefined) return null
    const rest = prefix === null ? stripped : whole.slice(mount.length)
    // Beside the routes of others only its own are the gateway's.
    if (prefix === null && !this.#patterns.some(pattern => pattern.test(pathOf(rest)))) return null
    const visible = pathIn(whole)
    const inside = pathIn(rest)
    return {
      mount: visible.endsWith(inside) ? visible.slice(0, visible.length - inside.length) : mount,
      url: rest.startsWith('/') ? rest : `/${rest}`,
      isBare: inside.length < 2 && visible.length > 1 && !visible.endsWith('/')
    }
  }
}

/** Below a path that stands there literally. */
export const below = (prefix: string): RegExp | null => prefix === '' ? null : new RegExp(`^${prefix.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?=[/?]|$)`)

/** Behind as many parts as a router's path has, which may hold parameters, and may be matched in any spelling. */
export const behind = (prefix: string): RegExp | null => prefix === '' ? null : new RegExp(`^(?:/[^/?]*){${prefix.split('/').length - 1}}(?=[/?]|$)`)

/**
 * Takes a request whose offer to upgrade is not taken as if it had none (RFC 9110, 7.8). By then Node has ended its HTTP on this
 * connection and has not read the body: the head goes back in front of what else has arrived, without the offer, and is read anew.
 */
export function withoutOffer (request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { server, encrypted = false, _httpMessage: answering } = socket as Connection
  if (server === undefined) return answerBare(socket, '400 Bad Request', new Refusal('BAD_REQUEST', 'only a WebSocket can be upgraded to: send the request without an Upgrade header'))
  // Requests that came before it on this connection are answered first.
  if (answering != null) {
    answering.once('close', () => setImmediate(withoutOffer, request, socket, head))
    return
  }
  if (socket.destroyed) return
  socket.unshift(Buffer.concat([Buffer.from(headOf(request), 'latin1'), head]))
  server.emit(encrypted ? 'secureConnection' : 'connection', socket)
}

/** The same for a server's event, where nobody else listens for it. */
export function ignoreUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void {
  const { server } = socket as Connection
  if (server !== undefined && server.listenerCount('upgrade') === 1) withoutOffer(request, socket, head)
}

/** As Node has it. */
interface Connection extends Duplex {
  readonly server?: Server
  readonly encrypted?: boolean
  /** The answer under way. */
  readonly _httpMessage?: ServerResponse | null
}

/** The head of a request as it came, but for the offer to upgrade. */
function headOf ({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = '', value = ''] = rawHeaders.slice(at, at + 2)
    if (/^upgrade$/i.test(name)) continue
    lines.push(`${name}: ${/^connection$/i.test(name) ? value.split(',').filter(option => !/^\s*upgrade\s*$/i.test(option)).join() : value}`)
  }
  return `${lines.join('\r\n')}\r\n\r\n`
}

const hasBody = ({ headers }: IncomingMessage): boolean => headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0

/** An address without scheme and host, which proxies send (RFC 9112, 3.2.2), and without a fragment. */
const inOriginForm = (url = '/'): string => url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '').replace(/#.*$/s, '')

const pathIn = (url: string): string => url.split('?', 1)[0] as string

/** To the same path with a slash. Relative: what stands before the path, on the way, is not known here. */
function redirect (request: IncomingMessage & { readonly originalUrl?: string }, response: ServerResponse): void {
  const [path = '', ...query] = inOriginForm(request.originalUrl ?? request.url).split('?')
  const location = `./${path.slice(path.lastIndexOf('/') + 1)}/${query.length === 0 ? '' : `?${query.join('?')}`}`
  response.writeHead(308, { Location: location, 'Content-Length': 0 }).end()
  request.resume()
}

export function answer (response: ServerResponse, refusal: Refusal): void {
  const body = JSON.stringify(refusal.body)
  response.writeHead(refusal.statusCode, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': Buffer.byteLength(body) }).end(body)
}
