// `signalbox explain`: what became of an event.

import { explanationLines, missingText } from '../client/explanation.ts'
import type { Explanation } from '../client/explanation.ts'
import { runCommand } from './control.ts'
import { Failure, WRONG_USE } from './failure.ts'
import type { Gateway } from './gateway.ts'
import { harmless, print, valueText } from './terminal.ts'

export interface ExplainVerbOptions {
  readonly idempotencyKey?: string
  readonly session?: string
  readonly json?: boolean
}

export async function explain (gateway: Gateway, event: string | undefined, { json = false, ...args }: ExplainVerbOptions): Promise<void> {
  if ((event === undefined) === (args.idempotencyKey === undefined)) throw new Failure("give the event's id, or --idempotency-key", WRONG_USE)
  const explanation = await runCommand(gateway, 'explain', { ...event !== undefined && { event }, ...args }) as Explanation
  if (json) await print(valueText(explanation))
  if (explanation.event === null) throw new Failure(harmless(missingText(explanation, event ?? args.idempotencyKey as string)))
  if (!json) for (const line of explanationLines(explanation, args.session)) await print(harmless(line))
}
