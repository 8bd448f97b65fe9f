// POST /api/control, GET /api/control and GET /api/control/:id: commands over HTTP.

import type { FastifyInstance } from 'fastify'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import { commandResponse, parseCommandRequest } from './command-request.ts'
import { limitRoutes } from './limit.ts'
import { commandsSchema, doneSchema, idempotencyHeader, outcomeSchema, refusals, runningSchema } from './schemas.ts'

export const CONTROL_PATH = '/api/control'

export default async function control (app: FastifyInstance, { gateway }: { gateway: Gateway }): Promise<void> {
  await limitRoutes(app, 'CONTROL_RATE_LIMIT', gateway.rates.control, () => gateway.limits.controlRateLimit)

  app.post(CONTROL_PATH, {
    schema: {
      tags: ['control'],
      operationId: 'runCommand',
      summary: 'Run a command',
      description: `Built in: ${gateway.commands.names.join(', ')}.`,
      headers: idempotencyHeader,
      body: { type: 'object', required: ['command'], additionalProperties: false, properties: { command: { type: 'string' }, args: { type: 'object', additionalProperties: true } } },
      response: { 200: doneSchema, 202: runningSchema, ...refusals }
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
      operationId: 'listCommands',
      summary: 'List the commands',
      description: 'Those that the caller may run, by name, each with the JSON Schema of its arguments.',
      response: { 200: commandsSchema, ...refusals }
    }
  }, async ({ identity }) => ({ commands: gateway.commands.list.filter(({ name }) => identity.grants.allow('control', name)) }))

  app.get<{ Params: { id: string } }>(`${CONTROL_PATH}/:id`, {
    // Not limited: polling for a long command must not use up the caller's rate of commands.
    config: { rateLimit: false },
    schema: {
      tags: ['control'],
      operationId: 'getCommand',
      summary: 'The outcome of a command',
      params: { type: 'object', properties: { id: { type: 'string' } } },
      response: { 200: outcomeSchema, ...refusals }
    }
  }, async request => {
    const outcome = await gateway.commands.outcome(request.params.id, request.identity)
    if (outcome === null) throw new Refusal('NOT_FOUND', 'no command with this id is known; outcomes are kept for IDEMPOTENCY_TTL seconds')
    return outcome
  })
}
