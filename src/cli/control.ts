// `signalbox control`: runs a command and waits for its result, for as long as it runs.

import { connect } from '../client/node.ts'
import { ControlError, run } from '../client/control.ts'
import type { CommandResult } from '../client/control.ts'
import { Failure } from './failure.ts'
import type { Gateway } from './gateway.ts'
import { harmless, print, say, valueText } from './terminal.ts'

export interface ControlVerbOptions {
  readonly idempotencyKey?: string
}

export async function control (gateway: Gateway, name: string, args: object, { idempotencyKey }: ControlVerbOptions): Promise<void> {
  const { control: path } = await gateway.profile()
  let isAnnounced = false
  const options = {
    signal: gateway.signal,
    ...idempotencyKey !== undefined && { idempotencyKey },
    onWait: (_retryMs: number, code: string) => {
      if (!isAnnounced) say(`not accepted yet (${harmless(code)}); trying again`)
      isAnnounced = true
    }
  }
  try {
    const { result } = path === null
      ? await overSocket(gateway, async box => await box.control(name, args, options))
      : await run({ address: async () => gateway.base + path, fetch: async (url, init) => await gateway.fetch(url, init), ask: async () => null }, name, args, options)
    await print(valueText(result))
  } catch (error) {
    if (!(error instanceof ControlError)) throw error
    throw new Failure(`${harmless(error.message)} (${harmless(error.code)})`)
  }
}

/** Where ENABLE_CONTROL_HTTP is false, a socket still takes commands. */
async function overSocket (gateway: Gateway, act: (box: ReturnType<typeof connect>) => Promise<CommandResult>): Promise<CommandResult> {
  const box = connect(gateway.base, gateway.token === '' ? {} : { token: gateway.token })
  try {
    await new Promise<void>((resolve, reject) => {
      gateway.signal.addEventListener('abort', () => reject(gateway.signal.reason))
      box.on('hello', () => resolve())
      box.on('status', ({ state, ...why }) => { if (state === 'refused') reject(new Failure(harmless((why as { reason: string }).reason))) })
    })
    return await act(box)
  } finally {
    box.close()
  }
}
