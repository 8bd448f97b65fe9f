// How a verb ends that could not do what it was asked for.

/** Refused by the gateway, or failed. */
export const FAILED = 1
/** Wrong use: the command line, or JSON that is none. */
export const WRONG_USE = 2
/** Settings; as in sysexits.h. */
export const BAD_SETTINGS = 78
/** Ended by Ctrl-C, as shells have it: 128 + SIGINT. */
export const INTERRUPTED = 130

/** Its message goes to stderr, without a stack trace. */
export class Failure extends Error {
  readonly exitCode: number

  constructor (message: string, exitCode = FAILED) {
    super(message)
    this.exitCode = exitCode
  }
}
