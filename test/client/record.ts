// Records everything a client delivers. It also runs in a page, beside the client, and therefore imports nothing.

import type { Box } from '../../src/client/index.ts'
import type { Happening, RemoteCommandOptions, RemoteOutcome, Remote } from './driver.ts'

function failure ({ name, message, code }: Error & { code?: unknown }): RemoteOutcome {
  return { error: { name, message, code } }
}

export function record (box: Box): Remote {
  const seen: Happening[] = []
  const add = (name: Happening['name'], value: unknown): void => { seen.push({ at: Date.now(), name, value } as Happening) }
  add('status', box.status)
  for (const name of ['event', 'status', 'hello', 'reset', 'ready', 'error'] as const) box.on(name, value => add(name, value))
  box.state.subscribe(() => add('values', box.state.size))
  for (const name of ['error', 'unhandledrejection']) {
    globalThis.addEventListener?.(name, event => add('mistake', String((event as ErrorEvent).message ?? (event as PromiseRejectionEvent).reason)))
  }
  return {
    happenings: async from => seen.slice(from),
    status: async () => box.status,
    value: async (...name) => box.state.get(...name),
    entries: async () => [...box.state.entries()],
    size: async () => box.state.size,
    close: async () => box.close(),
    join: async rooms => await box.join(rooms).catch(failure),
    leave: async rooms => await box.leave(rooms).catch(failure),
    control: async (command: string, args: object = {}, { idempotencyKey, abortMs }: RemoteCommandOptions = {}) => await box.control(command, args, {
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      ...(abortMs === undefined ? {} : { signal: AbortSignal.timeout(abortMs) })
    }).catch(failure)
  }
}
