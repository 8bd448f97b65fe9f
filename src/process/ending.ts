// How a process ends: by a signal, by the command `shutdown`, or by a message from its supervisor or its primary. The
// first of these starts the only drain; later ones wait for it. After SHUTDOWN_TIMEOUT the process exits in any case.

import { setTimeout as delay } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import type { pino } from 'pino'
import { leaveSignals } from './early-signals.ts'
import type { Primary } from './worker.ts'

export interface EndingOptions {
  /** The worker's primary; null if this is the only process. */
  readonly primary: Primary | null
  readonly log: pino.Logger
  /** Time between `announce` and the drain, ms: balancers have this long to notice. */
  readonly delayMs: number
  /** Makes /readyz report that this gateway is about to end, while everything is still served. */
  readonly announce: () => void
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

/** Interval of checking whether the parent process still runs. */
const LOOK_MS = 500

/**
 * Whether SIGHUP means that the terminal was closed. Without one (nohup, a service, a container) it does not. Whether SIGHUP was
 * ignored at the start, as nohup has it, cannot be known: Node resets that before any of our code runs.
 */
export const hangsUp = (): boolean => process.stdout.isTTY || process.stderr.isTTY

/**
 * Calls back when `npm start`, if it started this process, is gone. npm sends SIGTERM only to its shell, which passes it on to nobody.
 * Other scripts of npm may leave processes behind on purpose.
 */
export function onNpmGone (act: () => void): void {
  if (process.env.npm_lifecycle_event !== 'start' || process.platform === 'win32') return
  const { ppid } = process
  const timer = setInterval(() => {
    if (process.ppid === ppid) return
    clearInterval(timer)
    act()
  }, LOOK_MS).unref()
}

/** Drains and exits on request. @returns a function that requests it from inside the process */
export function endInOrder ({ primary, log, delayMs, announce, limitMs, drain, stopListening }: EndingOptions): () => void {
  const reportLate = (): void => log.error(`the drain took longer than ${limitMs} ms (SHUTDOWN_TIMEOUT): exiting`)
  let draining: Promise<void> | null = null
  const drainOnce = async (waitMs: number, signal?: string): Promise<void> => await (draining ??= (async () => {
    if (waitMs > 0) {
      log.info({ signal }, `/readyz says 503 now; the drain begins in ${waitMs} ms (SHUTDOWN_DELAY)`)
      announce()
      await delay(waitMs)
    }
    await drain(signal)
  })().catch(err => {
    log.fatal({ err }, 'the drain failed')
    throw err
  }))

  // A signal that arrives during this drain counts as the first one, and waits for the same drain.
  const shutDown = (waitMs = delayMs): void => {
    setTimeout(() => { reportLate(); process.exit(1) }, waitMs + limitMs)
    drainOnce(waitMs).then(() => process.exit(0), () => process.exit(1))
  }

  // The primary decides what SIGHUP means. A closed terminal sends it to the workers too.
  const skip = primary !== null || !hangsUp() ? ['SIGHUP' as const] : []
  if (primary !== null) process.on('SIGHUP', () => {})
  else if (skip.length > 0) process.on('SIGHUP', () => log.info('SIGHUP ignored: this process has no terminal; SIGTERM ends it'))
  leaveSignals()
  closeWithGrace({ delay: delayMs + limitMs, logger: false, skip: [...FAULTS, ...skip], onTimeout: reportLate, onSecondSignal: signal => log.warn(`second ${signal}: exiting at once`) }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'uncaught error: draining, then exiting')
    // The signal may be for this worker only: the other workers then accept the connections.
    if (primary !== null) stopListening()
    await drainOnce(primary === null && err === undefined ? delayMs : 0, signal)
  })

  // Windows has no SIGTERM: a supervisor sends `shutdown` over the IPC channel.
  if (primary === null) process.on('message', message => { if (message === 'shutdown') shutDown() })
  primary?.onStop(how => {
    // New clients connect to the other workers; those that have just connected here are still served.
    if (how === 'retire') stopListening()
    setTimeout(() => shutDown(how === 'retire' ? 0 : delayMs), how === 'retire' ? HANDOVER_MS : 0)
  })
  primary?.onGone(() => {
    log.error('the primary is gone: draining, then exiting')
    shutDown(0)
  })
  if (primary === null) {
    onNpmGone(() => {
      log.info('npm has ended: draining')
      shutDown()
    })
  }
  return () => shutDown()
}
