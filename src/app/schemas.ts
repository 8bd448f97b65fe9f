// JSON Schemas that several routes show in /docs. They only describe: the core's parser checks the requests.

import { MAX_KEY } from '../core/command.ts'
import { MAX_BATCH, NAME } from '../core/event.ts'

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
    timestamp: { type: 'number', description: 'milliseconds since 1970 (below 1e11: seconds); absent: now' }
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

/** An event as clients get it. */
export const deliveredSchema = {
  type: 'object',
  required: ['id', 'type', 'data', 'timestamp'],
  properties: {
    id: { type: 'string', pattern: '^\\d+-\\d+$' },
    type: { type: 'string' },
    room: { type: 'string', description: 'absent: a public event' },
    key: { type: 'string', description: 'present: state; absent: a fact' },
    data: { description: 'any JSON value; null with a key: the key was deleted' },
    timestamp: { type: 'number', description: 'milliseconds since 1970' }
  }
}

/** What a stream and a read are asked for in their address. */
export const subscriptionQuery = {
  rooms: { type: 'string', description: 'comma list; absent: the public feed' },
  types: { type: 'string', description: 'comma list; absent: every type' },
  join: { type: 'string', description: 'in place of rooms and types: a JSON array of names, or of { room, types }' },
  lastEventId: { type: 'string', description: 'a cursor; the header Last-Event-ID wins. 0-0: every fact that history holds' },
  ticket: { type: 'string', description: 'from POST /api/ticket, for clients that cannot send headers' }
}

const joinEntry = {
  oneOf: [
    { type: 'string' },
    { type: 'object', required: ['room'], additionalProperties: false, properties: { room: { type: 'string' }, types: { type: 'array', minItems: 1, items: { type: 'string' } } } }
  ]
}

/** What a client sends to join or leave rooms on an open connection. */
export const changeSchema = {
  oneOf: [
    {
      type: 'object',
      example: { action: 'join', rooms: ['plant-1', { room: 'plant-2', types: ['alarm'] }] },
      required: ['action'],
      properties: {
        action: { type: 'string', enum: ['join'] },
        room: joinEntry,
        rooms: { type: 'array', items: joinEntry, description: 'several at once; neither room nor rooms: the public feed' },
        types: { type: 'array', minItems: 1, items: { type: 'string' }, description: 'of entries without types of their own; absent: every type' },
        lastEventId: { type: ['string', 'null'], description: '0-0: every fact that history holds' },
        ref: { type: ['string', 'number'] }
      }
    },
    {
      type: 'object',
      example: { action: 'leave', room: 'plant-1' },
      required: ['action'],
      properties: {
        action: { type: 'string', enum: ['leave'] },
        room: { type: 'string' },
        rooms: { type: 'array', items: { type: 'string' }, description: 'neither room nor rooms: the public feed' },
        ref: { type: ['string', 'number'] }
      }
    }
  ]
}

/** The data of `joined`, or of `left`. */
export const changedSchema = {
  type: 'object',
  required: ['rooms', 'cursor'],
  properties: {
    rooms: { type: 'array', items: { type: 'string' } },
    members: { type: 'object', additionalProperties: { type: 'integer' }, description: 'of a join: over all processes' },
    position: { type: 'string', enum: ['new', 'resumed', 'reset'], description: 'of a join' },
    cursor: { type: ['string', 'null'] }
  }
}
