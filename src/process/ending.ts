// How a process ends: by a signal, by the command `shutdown`, or by a message from its supervisor or its primary. The
// first of these starts the only drain; later ones wait for it. After SHUTDOWN_TIMEOUT the process exits in any case.

import closeWithGrace from 'close-with-grace'
import type { pino } from 'pino'
import type { Primary } from './worker.ts'

export interface EndingOptions {
  /** The worker's primary; null if this is the only process. */
  readonly primary: Primary | null
  readonly log: pino.Logger
  /** Maximum time for the drain, ms. */
  readonly limitMs: number
  /** Refuses new work, finishes running work, closes everything. Called once. */
  readonly drain: (signal: string | undefined) => Promise<void>
  /** Stops accepting new connections. */
  readonly stopListening: () => void
}

/**
 * Signals by which the system reports a fault in native code, a truncated file under a memory map for example. A listener would
 * return to the failing instruction, for ever: these end the process, and whoever supervises it starts it again.
 */
export const FAULTS = ['SIGBUS', 'SIGSEGV', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP'] as const satisfies readonly NodeJS.Signals[]
/** Time between the last connection a worker accepts and the start of its drain. */
const HANDOVER_MS = 200

/** Drains and exits on request. @returns a function that requests it from inside the process */
export function endInOrder ({ primary, log, limitMs, drain, stopListening }: EndingOptions): () => void {
  const reportLate = (): void => log.error(`the drain took longer than ${limitMs} ms (SHUTDOWN_TIMEOUT): exiting`)
  let draining: Promise<void> | null = null
  const drainOnce = async (signal?: string): Promise<void> => await (draining ??= drain(signal).catch(err => {
    log.fatal({ err }, 'the drain failed')
    throw err
  }))

  // A signal that arrives during this drain counts as the first one, and waits for the same drain.
  const shutDown = (): void => {
    setTimeout(() => { reportLate(); process.exit(1) }, limitMs)
    drainOnce().then(() => process.exit(0), () => process.exit(1))
  }

  // The primary decides what SIGHUP means. A closed terminal sends it to the workers too.
  if (primary !== null) process.on('SIGHUP', () => {})
  const skip = [...FAULTS, ...primary === null ? [] : ['SIGHUP' as const]]
  closeWithGrace({ delay: limitMs, logger: false, skip, onTimeout: reportLate, onSecondSignal: signal => log.warn(`second ${signal}: exiting at once`) }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'uncaught error: draining, then exiting')
    // The signal may be for this worker only: the other workers then accept the connections.
    if (primary !== null) stopListening()
    await drainOnce(signal)
  })

  // Windows has no SIGTERM: a supervisor sends `shutdown` over the IPC channel.
  if (primary === null) process.on('message', message => { if (message === 'shutdown') shutDown() })
  primary?.onStop(how => {
    // New clients connect to the other workers; those that have just connected here are still served.
    if (how === 'retire') stopListening()
    setTimeout(shutDown, how === 'retire' ? HANDOVER_MS : 0)
  })
  primary?.onGone(() => {
    log.error('the primary is gone: draining, then exiting')
    shutDown()
  })
  return shutDown
}
