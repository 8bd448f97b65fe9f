// How a process ends: by a signal, by the command `shutdown`, by a word of its supervisor or of its primary. Whichever
// comes first begins the one drain, the others join it, and SHUTDOWN_TIMEOUT ends the process whatever holds it up.

import closeWithGrace from 'close-with-grace'
import type { pino } from 'pino'
import type { Primary } from './worker.ts'

export interface EndingOptions {
  /** The worker's primary; null where this is the only process. */
  readonly primary: Primary | null
  readonly log: pino.Logger
  /** Time to drain, ms. */
  readonly limitMs: number
  /** Refuses new work, finishes what has begun, closes everything. Called once. */
  readonly drain: (signal: string | undefined) => Promise<void>
  /** Takes no new connections from now on. */
  readonly stopListening: () => void
}

/** Between the last connection a worker takes and the beginning of its drain. */
const HANDOVER_MS = 200

/** Ends this process in good order when it is asked to. @returns what asks for it from inside */
export function endInOrder ({ primary, log, limitMs, drain, stopListening }: EndingOptions): () => void {
  const reportLate = (): void => log.error(`the drain took longer than ${limitMs} ms (SHUTDOWN_TIMEOUT): ending`)
  let draining: Promise<void> | null = null
  const drainOnce = async (signal?: string): Promise<void> => await (draining ??= drain(signal))

  // A signal that comes during this drain is the first one, and joins it.
  const shutDown = (): void => {
    setTimeout(() => { reportLate(); process.exit(1) }, limitMs)
    drainOnce().then(() => process.exit(0), err => {
      log.fatal({ err }, 'the drain failed')
      process.exit(1)
    })
  }

  // Which of its meanings SIGHUP has is for the primary to know; a closed terminal sends it to all.
  if (primary !== null) process.on('SIGHUP', () => {})
  const skip = primary === null ? [] : ['SIGHUP' as const]
  closeWithGrace({ delay: limitMs, logger: false, skip, onTimeout: reportLate, onSecondSignal: signal => log.warn(`second ${signal}: ending at once`) }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'uncaught error: draining, then exiting')
    // The signal may be meant for this worker alone: the others take its connections.
    if (primary !== null) stopListening()
    await drainOnce(signal)
  })

  // Windows has no SIGTERM: a supervisor sends the word over the IPC channel.
  if (primary === null) process.on('message', message => { if (message === 'shutdown') shutDown() })
  primary?.onStop(how => {
    // The other workers take over: new clients connect to them, and those who have just connected here are still served.
    if (how === 'retire') stopListening()
    setTimeout(shutDown, how === 'retire' ? HANDOVER_MS : 0)
  })
  primary?.onGone(() => {
    log.error('the primary is gone: draining, then exiting')
    shutDown()
  })
  return shutDown
}
