// The package in somebody's program: a Fastify plugin, and `createSignalbox` for every other server.

import { ServerResponse } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { ConfigError } from '../../config/index.ts'
import { translate } from '../app/errors.ts'
import { pathOf, patternOf } from '../app/methods.ts'
import { answer, behind, Door, withoutOffer } from './door.ts'
import { readOptions } from './options.ts'
import type { Options } from './options.ts'
import { checkOverlap, claimPrefix, overlapping } from './overlap.ts'
import { start } from './start.ts'
import type { Started } from './start.ts'
import type { Signalbox } from './api.ts'

export type { Authorize, Grants } from '../app/auth/authorize.ts'
export type { Options, Settings } from './options.ts'
export { createSignalbox } from './server.ts'
export type { SignalboxServer } from './server.ts'
export type { CommandAnswer, NewEvent, Once, ReadAnswer, ReadEvent, ReadRequest, Signalbox } from './api.ts'

export type PluginOptions = Options<FastifyRequest> & {
  /** The decorator: a second gateway in one app needs another. Default `signalbox`: `app.signalbox`. */
  readonly name?: string | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The gateway, where it was registered without a `name`. */
    signalbox: Signalbox
  }
}

const signalbox = async (app: FastifyInstance, options: PluginOptions): Promise<void> => {
  const { name = 'signalbox' } = options
  const read = readOptions(options as PluginOptions & Record<string, unknown>, ['name'])
  if (typeof name !== 'string' || name === '') throw new ConfigError(['name must be the name of a decorator, such as "signalbox"'])
  if (app.hasDecorator(name)) throw new ConfigError([`app.${name} exists already: give this gateway a name of its own, such as name: 'orders' for app.orders`])
  if ((app.initialConfig as { http2?: unknown }).http2 === true) throw new ConfigError(['signalbox needs a server for HTTP/1.1: streams and sockets write to their connection. Put a proxy in front for HTTP/2.'])

  const { authorize } = read
  /** The app's own requests, with what its hooks have put there. */
  const requests = new WeakMap<IncomingMessage, FastifyRequest>()
  const gateway = await start(read as never, read.logger ?? app.log, authorize === undefined
    ? undefined
    : async raw => await authorize(requests.get(raw) as FastifyRequest))
  app.decorate(name, gateway.verbs)
  await app.register(async scope => {
    try {
      mount(scope, gateway, requests)
    } catch (error) {
      await gateway.close()
      throw error
    }
  }, { prefix: read.prefix })
}

type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Handshakes on their way through the hooks of an app, with what came behind their headers. */
const upgrades = new WeakMap<IncomingMessage, Buffer>()

/** Errors of Fastify's about a body that it was not to read. */
const OF_BODIES = /^FST_ERR_(?:CTP_|ROUTE_MISSING_CONTENT)/

/** Hands requests over when the hooks of the app have run: everything but their bodies is the app's business too. */
function mount (scope: FastifyInstance, { inner, socketPath, onMounted, paths, close }: Started, requests: WeakMap<IncomingMessage, FastifyRequest>): void {
  const door = new Door({ inner, socketPath, paths, prefix: behind(scope.prefix), log: scope.log })
  const prefix = patternOf(`${scope.prefix}/*`)
  const isForGateway = (request: IncomingMessage): boolean => scope.prefix === '' ? door.isFor(request) : prefix.test(pathOf(request.url ?? ''))

  const handler = (request: FastifyRequest, reply: FastifyReply): void => {
    const { raw } = request
    reply.hijack()
    requests.set(raw, request)
    const head = upgrades.get(raw)
    if (head !== undefined) {
      const { socket } = raw
      reply.raw.detachSocket(socket)
      door.upgrade(raw, socket, head)
      return
    }
    keepHeaders(reply)
    door.handle(raw, reply.raw)
  }

  claimPrefix(scope)
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
  // It looks at the type of a body before any parser does. All other errors are the app's.
  scope.setErrorHandler((error: FastifyError, _request, reply) => {
    if (!OF_BODIES.test(error.code)) throw error
    reply.hijack()
    keepHeaders(reply)
    answer(reply.raw, translate(error, undefined))
  })
  const route = (url: string, isFree: (method: string) => boolean, prefixTrailingSlash: 'both' | 'slash' = 'both'): void => {
    const method = scope.supportedMethods.filter(isFree)
    if (method.length > 0) scope.route({ method, url, prefixTrailingSlash, exposeHeadRoute: false, schema: { hide: true } as object, handler })
  }
  const isTaken = (method: string, url: string): boolean => scope.hasRoute({ method: method as 'GET', url })
  if (scope.prefix === '') {
    // All else is the app's, and what it has itself by then.
    for (const url of paths) route(url, method => !isTaken(method, url))
  } else {
    const taken = scope.supportedMethods.find(method => isTaken(method, `${scope.prefix}/*`))
    if (taken !== undefined) throw overlapping(taken, `${scope.prefix}/*`, scope.prefix, `${scope.prefix}/`)
    // A page of the app's may be at the prefix itself: the gateway begins behind its slash.
    route('/', method => !isTaken(method, scope.prefix))
    route('/', method => isTaken(method, scope.prefix) && !isTaken(method, `${scope.prefix}/`), 'slash')
    route('/*', () => true)
    scope.addHook('onReady', async () => checkOverlap(scope, scope.prefix, paths))
  }
  scope.addHook('preClose', close)

  // What no router takes does not get as far as hooks: a path that cannot be decoded, a method that the app does not have.
  scope.addHook('onReady', async () => {
    const { server } = scope
    const others = server.listeners('request') as Array<(request: IncomingMessage, response: ServerResponse) => void>
    server.removeAllListeners('request')
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      if (isForGateway(request) && !isRoutable(request, scope.supportedMethods)) door.handle(request, response)
      else for (const listener of others) listener.call(server, request, response)
    })
  })

  // Others may listen too, before and after. With a second listener each would answer every handshake. Without any, Node ignores
  // all offers to upgrade: there is ours only while the socket is mounted.
  scope.addHook('onReady', async () => {
    const { server } = scope
    let others: readonly UpgradeListener[] | null = null
    const listener = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
      if (isForGateway(request) && door.takes(request)) throughHooks(request, socket, head)
      else if (others !== null && others.length > 0) for (const other of others) other.call(server, request, socket, head)
      else if (server.listenerCount('upgrade') === 1) withoutOffer(request, socket, head)
    }
    const listen = (): void => {
      const isMounted = socketPath() !== null
      if (isMounted === (others !== null)) return
      const now = server.rawListeners('upgrade') as UpgradeListener[]
      const at = now.indexOf(listener)
      // Another one has taken it among its own, and calls it.
      if (others !== null && at === -1) return
      // What the app has attached since stays.
      const next = others === null ? [listener] : [...now.slice(0, at), ...others, ...now.slice(at + 1)]
      others = others === null ? now : null
      server.removeAllListeners('upgrade')
      for (const one of next) server.on('upgrade', one)
    }
    listen()
    onMounted(listen)
  })

  function throughHooks (request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Node listens no more; until the handshake is done nobody else does.
    socket.on('error', ignore)
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket as Socket)
    // Refused by a hook.
    response.once('finish', () => socket.end())
    upgrades.set(request, head)
    scope.routing(request, response)
  }
}

function ignore (): void {}

/** What hooks have said goes out with the answer: CORS, security headers. */
function keepHeaders (reply: FastifyReply): void {
  for (const [header, value] of Object.entries(reply.getHeaders())) if (value !== undefined) reply.raw.setHeader(header, value)
}

function isRoutable ({ method = '', url = '' }: IncomingMessage, methods: readonly string[]): boolean {
  try {
    decodeURIComponent(pathOf(url))
    return methods.includes(method)
  } catch {
    return false
  }
}

export default fp(signalbox, { name: 'signalbox', fastify: '5.x' })
