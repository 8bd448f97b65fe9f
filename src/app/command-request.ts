// The request and the response of a command, the same over HTTP and WebSocket.

import { Refusal } from '../core/errors.ts'
import type { Outcome } from '../core/ledger.ts'

/**
 * Checks the shape of a command. The registry checks name and arguments.
 * @throws Refusal BAD_COMMAND
 */
export function parseCommandRequest (value: unknown): { command: unknown, args?: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Refusal('BAD_COMMAND', 'a command is an object such as {"command": "ping", "args": {}}')
  }
  const { command, args, ...rest } = value as Record<string, unknown>
  const unknown = Object.keys(rest)
  if (unknown.length > 0) throw new Refusal('BAD_COMMAND', `unknown field ${JSON.stringify(unknown[0]?.slice(0, 40))}; a command has command and args`)
  return { command, ...(args === undefined ? {} : { args }) }
}

/** The response to a command: HTTP status and body. Over a WebSocket the body is sent as `result`, or as `error` from status 400 on. */
export function commandResponse ({ id, command, status, result, resultOmitted, error }: Outcome): { status: number, body: object } {
  switch (status) {
    case 'done': return { status: 200, body: { ok: true, id, command, result, ...(resultOmitted === undefined ? {} : { resultOmitted }) } }
    case 'running': return { status: 202, body: { id, command, status } }
    case 'unknown': return { status: 200, body: { ok: false, id, command, status, message: 'the command was started, but its outcome was lost; it was not run again' } }
    case 'failed': return { status: 500, body: { statusCode: 500, code: 'COMMAND_FAILED', error: 'Internal Server Error', message: error?.message, id, command, status } }
  }
}
