// A gateway that has started, and its own server, which does not listen.

import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Authorize } from '../app/auth/authorize.ts'
import { composeGateway } from '../signalbox.ts'
import type { ReadOptions } from './options.ts'
import { verbsOf } from './verbs.ts'
import type { Signalbox } from './api.ts'

export interface Started {
  readonly verbs: Signalbox
  readonly inner: FastifyInstance
  /** The path of the WebSocket; null while it is not mounted. */
  readonly socketPath: () => string | null
  /** Sets what is called when that changes. If it throws, the profile stays as it was. */
  readonly onMounted: (act: () => void) => void
  /** The paths of its routes. */
  readonly paths: ReadonlySet<string>
  /** Drains and closes. Idempotent. */
  readonly close: () => Promise<void>
}

/** @throws ConfigError; Error with a sentence for the operator if the store cannot be opened */
export async function start ({ config, store, logLevel }: ReadOptions<never>, base: FastifyBaseLogger, authorize: Authorize | undefined): Promise<Started> {
  // A level of its own: `tune` may change it, and leaves the log of the program alone.
  const log = base.child({}, logLevel === undefined ? {} : { level: logLevel })
  let noteMounted = (): void => {}
  const root = await composeGateway({ config, log, store, authorize, onMounted: () => noteMounted(), onTuned: tuned => { log.level = tuned.logLevel }, onShutdown: () => { close().catch(err => log.error({ err }, 'the gateway could not be closed')) } })
    .catch((error: unknown) => {
      log.debug({ err: error }, 'the store could not be opened')
      throw sentenceOf(error)
    })
  const verbs = verbsOf(root, config)
  const paths = new Set<string>()
  const inner = await root.createServer(path => { if (path !== '*') paths.add(path) })
  let closed: Promise<void> | null = null
  const close = async (): Promise<void> => await (closed ??= (async () => {
    await verbs.drain()
    await inner.close()
  })())
  try {
    await inner.ready()
    await root.readyToListen()
    root.start().catch(err => log.error({ err }, 'the gateway could not start'))
  } catch (error) {
    await inner.close().catch(() => {})
    throw error
  }
  return { verbs, inner, socketPath: () => root.mounted.paths.websocket, onMounted: act => { noteMounted = act }, paths, close }
}

/** Of a directory that cannot be used the sentence and the code: a trace through the store, with its causes, would hide them. */
function sentenceOf (error: unknown): unknown {
  const { code, message } = error as { readonly code?: unknown, readonly message: string }
  if (typeof code !== 'string' || !code.startsWith('DATA_DIR_')) return error
  const text = message.replaceAll('DATA_DIR', 'dataDir')
  return Object.assign(new Error(text), { code, stack: `Error: ${text}` })
}
