// `signalbox control`: runs a command and waits for its result, for as long as it runs.

import { connect } from '../client/node.ts'
import { ControlError, run } from '../client/control.ts'
import type { CommandResult } from '../client/control.ts'
import type { Box } from '../client/box.ts'
import { readAnswer } from '../client/wire.ts'
import { failureOf, hurry } from './gateway.ts'
import type { Gateway } from './gateway.ts'
import { harmless, print, say, valueText } from './terminal.ts'

export interface ControlVerbOptions {
  readonly idempotencyKey?: string
}

export async function control (gateway: Gateway, name: string, args: object, options: ControlVerbOptions): Promise<void> {
  await print(valueText(await runCommand(gateway, name, args, options)))
}

/** @returns the command's result. @throws Failure with what the gateway refuses */
export async function runCommand (gateway: Gateway, name: string, args: object, { idempotencyKey }: ControlVerbOptions = {}): Promise<unknown> {
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
      : await run(async (request, key, signal, running) => await readAnswer(running === ''
        ? await gateway.fetch(gateway.base + path, { method: 'POST', body: JSON.stringify(request), headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key }, signal })
        : await gateway.fetch(`${gateway.base}${path}/${encodeURIComponent(running)}`, { signal })), name, args, options)
    return result
  } catch (error) {
    if (!(error instanceof ControlError)) throw error
    throw failureOf(error.message, error.code)
  }
}

/** Where ENABLE_CONTROL_HTTP is false, a socket still takes commands. */
async function overSocket (gateway: Gateway, act: (box: Box) => Promise<CommandResult>): Promise<CommandResult> {
  const box = connect(gateway.base, gateway.token === '' ? {} : { token: gateway.token })
  try {
    let isAnnounced = false
    await new Promise<void>((resolve, reject) => {
      hurry(box, gateway.base, reject)
      gateway.signal.addEventListener('abort', () => reject(gateway.signal.reason))
      box.on('hello', () => resolve())
      box.on('status', status => {
        if (status.state === 'refused') return reject(failureOf(status.reason, status.code))
        if (isAnnounced || !('reason' in status) || status.reason === undefined) return
        say(`${harmless(status.reason)}; trying again`)
        isAnnounced = true
      })
    })
    return await act(box)
  } finally {
    box.close()
  }
}
