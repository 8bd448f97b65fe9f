// The log: one JSON object per line, or readable lines if stdout is a terminal.
//
// If stdout is a pipe that nobody reads, the gateway must not wait for it: a write that blocks would stop everything, the
// drain too. A limited amount of the log then waits in memory, and further lines are dropped and counted.

import { Socket } from 'node:net'
import os from 'node:os'
import type { Writable } from 'node:stream'
import { pino } from 'pino'
import type { DestinationStream } from 'pino'
import pretty from 'pino-pretty'

/** Characters of the log that may wait for the reader of a pipe. */
const MAX_WAITING = 1024 * 1024

/** Lines of the log that were dropped. */
export interface LogFigures {
  dropped: number
}

/** @param worker the number of the worker that writes the log, if there are several */
export function createLog (level: string, worker?: number, figures: LogFigures = { dropped: 0 }): pino.Logger {
  const options = worker === undefined ? { level } : { level, base: { pid: process.pid, hostname: os.hostname(), worker } }
  const out: unknown = process.stdout
  if (process.stdout.isTTY) return pino(options, pretty({ colorize: true, ignore: 'pid,hostname', translateTime: 'HH:MM:ss', singleLine: true }))
  return out instanceof Socket ? pino(options, pipeOutput(out, figures)) : pino(options)
}

/** Writes lines to a pipe without waiting for its reader. */
function pipeOutput (pipe: Writable, figures: LogFigures): DestinationStream {
  let dropped = 0
  // A reader that has gone away is no reason to end.
  pipe.on('error', () => {})
  return {
    write (line) {
      if (pipe.writableLength > MAX_WAITING) {
        dropped++
        figures.dropped++
        return
      }
      unblock(pipe)
      if (dropped > 0) pipe.write(JSON.stringify({ level: 40, time: Date.now(), pid: process.pid, msg: `${dropped} lines of this log were dropped, because the pipe was not read` }) + '\n')
      dropped = 0
      pipe.write(line)
    }
  }
}

/**
 * Processes that share a pipe share its mode too, and each worker that starts or ends sets it back to blocking: then a write of the
 * primary to a full pipe would never return. Only the handle, which is not public, can set it.
 */
function unblock (pipe: Writable): void {
  (pipe as { _handle?: { setBlocking?: (blocking: boolean) => void } | null })._handle?.setBlocking?.(false)
}
