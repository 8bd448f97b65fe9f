// The log: a JSON object a line, or readable lines where a person is watching.

import os from 'node:os'
import { pino } from 'pino'
import pretty from 'pino-pretty'

/** @param worker the number of the worker that writes it, where there are several */
export function createLog (level: string, worker?: number): pino.Logger {
  const options = worker === undefined ? { level } : { level, base: { pid: process.pid, hostname: os.hostname(), worker } }
  if (!process.stdout.isTTY) return pino(options)
  return pino(options, pretty({ colorize: true, ignore: 'pid,hostname', translateTime: 'HH:MM:ss', singleLine: true }))
}
