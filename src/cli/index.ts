// The command line: finds the verb, carries it out, and turns how that ended into an exit code.
//
//     program.ts   the verbs, their options and help     gateway.ts    the way to a gateway, with patience
//     values.ts    texts of options as values            terminal.ts   what is written, and where
//     failure.ts   exit codes                            the others    one verb each

import { CommanderError } from 'commander'
import { Failure, INTERRUPTED, WRONG_USE } from './failure.ts'
import { programOf } from './program.ts'
import type { Starter } from './program.ts'
import { exit, sayError, watchStreams } from './terminal.ts'

export type { Starter }

/** Runs a command line to its end; a gateway that was started goes on. @param written without Node and the script */
export async function runCommandLine (written: readonly string[], starter: Starter): Promise<void> {
  const args = verbFirst(written)
  // A gateway has streams and signals of its own.
  const starts = isStart(args) || args[0] === 'start'
  if (!starts) watchStreams()
  const interruption = new AbortController()
  const program = programOf({
    ...starter,
    async gatewayFor (options) {
      process.once('SIGINT', () => {
        interruption.abort()
        process.once('SIGINT', () => process.exit(INTERRUPTED))
      })
      const { Gateway } = await import('./gateway.ts')
      return new Gateway(options, interruption.signal)
    }
  })
  try {
    await program.parseAsync(isStart(args) ? ['start', ...args] : args, { from: 'user' })
    if (!starts) await exit(0)
  } catch (error) {
    if (error instanceof CommanderError) return await exit(error.exitCode === 0 ? 0 : WRONG_USE)
    if (interruption.signal.aborted && !(error instanceof Failure)) return await exit(INTERRUPTED)
    if (!(error instanceof Failure)) throw error
    if (error.message !== '') sayError(error.message)
    return await exit(error.exitCode)
  }
}

/** `help tail` is `tail --help`; the address and the token may come before the verb. */
function verbFirst (args: readonly string[]): readonly string[] {
  if (args[0] === 'help') return [...args.slice(1), '--help']
  let at = 0
  while (/^--(url|token)(=|$)/.test(args[at] ?? '')) at += args[at]?.includes('=') === true ? 1 : 2
  return [...args.slice(at, at + 1), ...args.slice(0, at), ...args.slice(at + 1)]
}

/** Options without a verb are those of start, as before there were verbs. */
const isStart = ([first]: readonly string[]): boolean => first === undefined || (first.startsWith('-') && !['-h', '--help', '-v', '--version'].includes(first))
