// POST /api/control, GET /api/control and GET /api/control/:id: commands over HTTP.

import type { FastifyInstance } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import { commandResponse, parseCommandRequest } from './command-request.ts'
import { limitRoutes } from './limit.ts'
import { errorSchema, idempotencyHeader } from './schemas.ts'

export const CONTROL_PATH = '/api/control'

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
  await limitRoutes(app, 'CONTROL_RATE_LIMIT', gateway.rates.control, () => gateway.limits.controlRateLimit)

  app.post(CONTROL_PATH, {
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
    const { status, body } = commandResponse(await gateway.control({
      ...parseCommandRequest(request.body),
      idempotencyKey: request.headers['idempotency-key'] as string | undefined,
      identity: request.identity
    }))
    return await reply.code(status).send(body)
  })

  app.get(CONTROL_PATH, {
    // Not limited: listing the commands is not a command.
    config: { rateLimit: false },
    schema: {
      tags: ['control'],
      summary: 'List the commands',
      description: 'Those that the caller may run, by name, each with the JSON Schema of its arguments.',
      response: { 200: { type: 'object', properties: { commands: { type: 'array', items: commandSchema } } } }
    }
  }, async ({ identity }) => ({ commands: gateway.commands.list.filter(({ name }) => identity.grants.allow('control', name)) }))

  app.get<{ Params: { id: string } }>(`${CONTROL_PATH}/:id`, {
    // Not limited: polling for a long command must not use up the caller's rate of commands.
    config: { rateLimit: false },
    schema: {
      tags: ['control'],
      summary: 'The outcome of a command',
      params: { type: 'object', properties: { id: { type: 'string' } } },
      response: { 200: outcomeSchema, 404: errorSchema }
    }
  }, async request => {
    const outcome = await gateway.commands.outcome(request.params.id, request.identity)
    if (outcome === null) throw new Refusal('NOT_FOUND', 'no command with this id is known; outcomes are kept for IDEMPOTENCY_TTL seconds')
    return outcome
  })
}
