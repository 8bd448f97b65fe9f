// The log: one JSON object per line, or readable lines if stdout is a terminal.

import os from 'node:os'
import { pino } from 'pino'
import pretty from 'pino-pretty'

/** @param worker the number of the worker that writes the log, if there are several */
export function createLog (level: string, worker?: number): pino.Logger {
  const options = worker === undefined ? { level } : { level, base: { pid: process.pid, hostname: os.hostname(), worker } }
  if (!process.stdout.isTTY) return pino(options)
  return pino(options, pretty({ colorize: true, ignore: 'pid,hostname', translateTime: 'HH:MM:ss', singleLine: true }))
}
