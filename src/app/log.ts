// The log: a JSON object a line, or readable lines where a person is watching.

import { pino } from 'pino'
import type { Logger } from 'pino'
import pretty from 'pino-pretty'

export function createLog (level: string): Logger {
  if (!process.stdout.isTTY) return pino({ level })
  return pino({ level }, pretty({ colorize: true, ignore: 'pid,hostname', translateTime: 'HH:MM:ss', singleLine: true }))
}
