// POST /api/control, GET /api/control and GET /api/control/:id: the door for commands over HTTP.

import type { FastifyInstance } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Outcome } from '../core/command.ts'
import type { Gateway } from '../core/gateway.ts'
import { callerOf } from './caller.ts'
import { limitRoutes } from './limit.ts'
import { errorSchema, idempotencyHeader } from './schemas.ts'

const outcomeSchema = {
  type: 'object',
  properties: {
    id: { type: 'string' },
    command: { type: 'string' },
    status: { type: 'string', enum: ['running', 'done', 'failed', 'unknown'] },
    result: {},
    error: { type: 'object', properties: { code: { type: 'string' }, message: { type: 'string' } } }
  }
}

const commandSchema = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    description: { type: 'string' },
    schema: { type: 'object', description: 'a JSON Schema for args; {}: any' },
    source: { type: 'string', enum: ['built-in', 'module', 'backend'] }
  }
}

export default async function control (app: FastifyInstance, { gateway }: { gateway: Gateway }): Promise<void> {
  await limitRoutes(app, 'CONTROL_RATE_LIMIT', gateway.rates.control, () => gateway.limits.controlPerSecond)

  app.post('/api/control', {
    schema: {
      tags: ['control'],
      summary: 'Run a command',
      description: `Built in: ${gateway.commands.names.join(', ')}.`,
      headers: idempotencyHeader,
      body: { type: 'object', required: ['command'], properties: { command: { type: 'string' }, args: { type: 'object' } } },
      response: {
        200: { type: 'object', properties: { ok: { type: 'boolean' }, id: { type: 'string' }, command: { type: 'string' }, result: {} } },
        202: outcomeSchema,
        '4xx': errorSchema,
        '5xx': errorSchema
      }
    }
  }, async (request, reply) => {
    const { status, body } = answerOf(await gateway.control({
      ...parseOrder(request.body),
      idempotencyKey: request.headers['idempotency-key'] as string | undefined,
      caller: callerOf(request)
    }))
    return await reply.code(status).send(body)
  })

  app.get('/api/control', {
    // Looking up what there is is no command.
    config: { rateLimit: false },
    schema: {
      tags: ['control'],
      summary: 'The commands there are',
      description: 'By name, each with the JSON Schema of its arguments.',
      response: { 200: { type: 'object', properties: { commands: { type: 'array', items: commandSchema } } } }
    }
  }, async () => ({ commands: gateway.commands.list }))

  app.get<{ Params: { id: string } }>('/api/control/:id', {
    // Asking after a command that takes long must not use up what commands themselves are allowed.
    config: { rateLimit: false },
    schema: {
      tags: ['control'],
      summary: 'What became of a command',
      params: { type: 'object', properties: { id: { type: 'string' } } },
      response: { 200: outcomeSchema, 404: errorSchema }
    }
  }, async request => {
    const outcome = await gateway.commands.outcome(request.params.id)
    if (outcome === null) throw new Refusal('NOT_FOUND', 'no command with this id is known; outcomes are kept for IDEMPOTENCY_TTL')
    return outcome
  })
}

/** Checks a command as it came, through either door. */
export function parseOrder (value: unknown): { command: unknown, args?: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Refusal('BAD_COMMAND', 'a command is an object such as {"command": "ping", "args": {}}')
  }
  const { command, args, ...rest } = value as Record<string, unknown>
  const unknown = Object.keys(rest)
  if (unknown.length > 0) throw new Refusal('BAD_COMMAND', `unknown field ${JSON.stringify(unknown[0]?.slice(0, 40))}; a command has command and args`)
  return { command, ...(args === undefined ? {} : { args }) }
}

/** What a command's caller is told, through either door: status and body. */
export function answerOf ({ id, command, status, result, error }: Outcome): { status: number, body: object } {
  switch (status) {
    case 'done': return { status: 200, body: { ok: true, id, command, result } }
    case 'running': return { status: 202, body: { id, command, status } }
    case 'unknown': return { status: 200, body: { ok: false, id, command, status, message: 'it was started, and its outcome was lost; it was not run again' } }
    case 'failed': return { status: 500, body: { statusCode: 500, code: 'COMMAND_FAILED', error: 'Internal Server Error', message: error?.message, id, command, status } }
  }
}
