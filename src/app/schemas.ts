// JSON Schemas that several routes show in /docs. They only describe: the core's parser checks the requests.

import { MAX_KEY } from '../core/command.ts'
import { MAX_BATCH, MAX_TTL, NAME } from '../core/event.ts'

// Teaches Fastify's types the fields of /docs, `tags` and `hide`.
import type {} from '@fastify/swagger'

export const eventSchema = {
  type: 'object',
  example: { type: 'cpu', room: 'plant-1', key: 'host-7', data: { percent: 42 } },
  required: ['type', 'data'],
  additionalProperties: false,
  properties: {
    type: { type: 'string', pattern: NAME.source },
    room: { type: 'string', pattern: NAME.source, description: 'absent: a public event' },
    key: { type: 'string', minLength: 1, maxLength: 256, description: 'present: state, the newest value wins; absent: a fact, every one is delivered' },
    data: { description: 'any JSON value; null on a keyed event deletes the key' },
    timestamp: { type: 'number', description: 'milliseconds since 1970 (below 1e11: seconds); absent: now' },
    ttl: { type: ['integer', 'null'], minimum: 1, maximum: MAX_TTL, description: 'seconds until the value ends, unless a newer one comes first; only with a key' }
  }
}

export const batchSchema = { type: 'array', minItems: 1, maxItems: MAX_BATCH, items: eventSchema }

export const errorSchema = {
  type: 'object',
  properties: {
    statusCode: { type: 'integer' },
    code: { type: 'string' },
    error: { type: 'string' },
    message: { type: 'string' }
  }
}

export const idempotencyHeader = {
  type: 'object',
  properties: { 'idempotency-key': { type: 'string', minLength: 1, maxLength: MAX_KEY, description: 'makes a retry safe: it returns the first response' } }
}
