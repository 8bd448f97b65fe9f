// The shapes of requests and answers, for /docs and docs/openapi.json. They only describe: the core's parser checks requests,
// the same way over HTTP, WebSocket and Redis; tests hold the two against each other. Fields that are not named here may be
// added to answers; clients ignore what they do not know.
//
// A schema with a title stands once among the document's components, under that title.

import { MAX_KEY } from '../core/command.ts'
import { CODES } from '../core/errors.ts'
import { MAX_PACE_MS } from '../core/value-pace.ts'
import { KEY, MAX_BATCH, MAX_TIMESTAMP, MAX_TTL, NAME } from '../core/event.ts'
import { PROFILE_NAMES } from './mounted.ts'

// Teaches Fastify's types the fields of /docs, `tags` and `hide`.
import type {} from '@fastify/swagger'

const name = { type: 'string', pattern: NAME.source } as const
const nullable = <T extends { readonly type: string }>(schema: T): object => ({ ...schema, type: [schema.type, 'null'] })
/** An object whose properties are all there. */
const whole = (properties: Readonly<Record<string, object>>): object => ({ type: 'object', required: Object.keys(properties), properties })

export const eventSchema = {
  title: 'NewEvent',
  description: 'An event as it is published.',
  type: 'object',
  example: { type: 'cpu', room: 'plant-1', key: 'host-7', data: { percent: 42 } },
  required: ['type', 'data'],
  additionalProperties: false,
  properties: {
    type: { ...name, description: 'what kind of event it is' },
    room: { ...nullable(name), description: 'absent or null: a public event' },
    key: { type: ['string', 'null'], pattern: KEY.source, description: '1 to 256 characters (UTF-16 code units), none of them a control character. Present: state, the newest value wins; absent or null: a fact, every one is delivered' },
    data: { description: 'any JSON value; null on a keyed event deletes the key' },
    timestamp: { type: ['number', 'null'], minimum: 0, maximum: MAX_TIMESTAMP, description: 'milliseconds since 1970 (below 1e11: seconds); absent or null: now' },
    ttl: { type: ['integer', 'null'], minimum: 1, maximum: MAX_TTL, description: 'seconds until the value ends, unless a newer one comes first; only with a key' }
  }
}

export const batchSchema = { type: 'array', minItems: 1, maxItems: MAX_BATCH, items: eventSchema }

const id = { type: 'string', pattern: '^\\d+-\\d+$', description: '`<ms>-<n>`: when the event was accepted, and its number in that millisecond' }

const receivedEventSchema = {
  title: 'Event',
  description: 'An event as clients receive it.',
  type: 'object',
  example: { id: '1763770000000-0', type: 'cpu', room: 'plant-1', key: 'host-7', data: { percent: 42 }, timestamp: 1763770000000 },
  required: ['id', 'type', 'timestamp'],
  // Of the two one.
  oneOf: [{ required: ['data'] }, { required: ['patch', 'key'] }],
  properties: {
    id,
    type: { type: 'string' },
    room: { type: 'string', description: 'absent: a public event' },
    key: { type: 'string', description: 'absent: a fact' },
    data: { description: 'any JSON value; null with a key: the key is deleted' },
    patch: { type: 'object', description: 'in place of data, only where patch=merge was asked for: a merge patch (RFC 7396) against the value of the key that the client holds' },
    timestamp: { type: 'integer', description: 'milliseconds since 1970' },
    ttl: { type: 'integer', minimum: 1, maximum: MAX_TTL, description: 'with a key: seconds until the value ends, counted from the ms of its id, unless a newer one comes first' }
  }
}

export const idsSchema = { title: 'Published', description: 'The events are durable.', ...whole({ ids: { type: 'array', items: id, minItems: 1, maxItems: MAX_BATCH } }) }

const errorSchema = {
  title: 'Error',
  description: 'Refused: nothing was changed. The message says what to do.',
  type: 'object',
  example: { statusCode: 400, code: 'BAD_EVENT', error: 'Bad Request', message: 'type is missing; it says what kind of event this is, for example "cpu"' },
  required: ['statusCode', 'code', 'error', 'message'],
  properties: {
    statusCode: { type: 'integer', minimum: 400, maximum: 599 },
    code: { type: 'string', enum: CODES },
    error: { type: 'string', description: 'the name of the status' },
    message: { type: 'string' },
    retryMs: { type: 'integer', minimum: 0, description: 'on a socket, where trying again may help; over HTTP it is the header Retry-After' },
    rooms: { type: 'array', items: { type: 'string' }, description: 'with ROOM_FULL: those that are full' },
    id: { type: 'string', description: 'of the command, with COMMAND_FAILED' },
    command: { type: 'string', description: 'with COMMAND_FAILED' },
    status: { type: 'string', enum: ['failed'], description: 'with COMMAND_FAILED' }
  }
}

const retryAfter = { 'Retry-After': { type: 'integer', minimum: 1, description: 'seconds; there where trying again may help' } }

/** The refusals of a route. */
export const refusals = { '4xx': { ...errorSchema, headers: retryAfter }, '5xx': { ...errorSchema, headers: retryAfter } }

const commandId = { type: 'string', description: 'asks for the outcome: GET /api/control/{id}' }

export const doneSchema = {
  title: 'CommandAnswer',
  description: 'The command has run, or (ok: false) was started and its outcome is lost.',
  type: 'object',
  required: ['ok', 'id', 'command'],
  properties: {
    ok: { type: 'boolean' },
    id: commandId,
    command: { type: 'string' },
    result: { description: 'what the command returned; absent where ok is false' },
    resultOmitted: { type: 'boolean', description: 'the result was larger than 64 KiB, and this is a repeat' },
    status: { type: 'string', enum: ['unknown'], description: 'where ok is false' },
    message: { type: 'string', description: 'where ok is false' }
  }
}

export const runningSchema = {
  title: 'CommandRunning',
  description: 'The command takes longer than COMMAND_TIMEOUT.',
  ...whole({ id: commandId, command: { type: 'string' }, status: { type: 'string', enum: ['running'] } })
}

export const outcomeSchema = {
  title: 'CommandOutcome',
  description: 'What is known of the command. unknown: it was started, and its outcome is lost.',
  type: 'object',
  required: ['id', 'command', 'status'],
  properties: {
    id: { type: 'string' },
    command: { type: 'string' },
    status: { type: 'string', enum: ['running', 'done', 'failed', 'unknown'] },
    result: { description: 'where it is done' },
    resultOmitted: { type: 'boolean', description: 'the result was larger than 64 KiB' },
    error: { description: 'where it has failed', type: 'object', required: ['message'], properties: { code: { type: 'string' }, message: { type: 'string' } } }
  }
}

export const commandsSchema = {
  title: 'Commands',
  description: 'The commands that the caller may run.',
  ...whole({
    commands: {
      type: 'array',
      items: {
        title: 'Command',
        type: 'object',
        required: ['name', 'schema', 'source'],
        properties: {
          name: { type: 'string' },
          description: { type: 'string' },
          schema: { type: ['object', 'boolean'], additionalProperties: true, description: 'a JSON Schema for args; {}: any' },
          source: { type: 'string', enum: ['built-in', 'module', 'backend'] }
        }
      }
    }
  })
}

export const roomPageSchema = {
  title: 'RoomPage',
  description: 'Rooms in order of name.',
  ...whole({
    rooms: {
      type: 'array',
      items: {
        title: 'Room',
        ...whole({
          room: { type: 'string' },
          members: { type: 'integer', minimum: 0, description: 'over all processes' },
          keys: { type: 'integer', minimum: 0, description: 'present values' },
          lastId: { ...nullable(id), description: 'the id of its newest event; null where it has none' },
          paused: { type: 'boolean' }
        })
      }
    },
    more: { type: 'boolean', description: 'there are rooms behind these' }
  })
}

const path = (what: string): object => ({ type: ['string', 'null'], description: `the path of ${what}; null where it is not mounted` })

export const profileSchema = {
  title: 'Profile',
  description: 'How to connect.',
  ...whole({
    profile: { type: 'string', enum: PROFILE_NAMES },
    stream: path('the stream'),
    websocket: path('the socket'),
    control: path('commands'),
    tickMs: { type: 'integer', minimum: 0, description: 'the current tick, ms' },
    pingIntervalMs: { type: 'integer', minimum: 1, description: 'a connection that is silent for longer is dead' },
    version: { type: 'string', description: 'of the gateway' },
    protocol: { type: 'integer', minimum: 1, description: 'of the wire; docs/protocol.md says what another number means' },
    time: { type: 'integer', description: 'ms since 1970 by the clock of the gateway' },
    auth: { type: 'boolean', description: 'a token is needed' },
    features: { type: 'array', items: { type: 'string' } }
  })
}

export const healthSchema = { title: 'Health', description: 'The process answers.', ...whole({ status: { type: 'string', enum: ['ok'] } }) }

export const readySchema = {
  title: 'Readiness',
  description: 'New work is accepted.',
  type: 'object',
  required: ['status'],
  properties: {
    status: { type: 'string', enum: ['ready'] },
    warnings: { type: 'array', items: { type: 'string' }, minItems: 1, description: 'what an operator should look at' }
  }
}

export const ticketSchema = {
  title: 'Ticket',
  description: 'For one connection.',
  ...whole({ ticket: { type: 'string' }, expiresIn: { type: 'integer', minimum: 1, description: 'seconds' } })
}

export const idempotencyHeader = {
  type: 'object',
  properties: { 'idempotency-key': { type: 'string', minLength: 1, maxLength: MAX_KEY, description: 'makes a retry safe: it returns the first response' } }
}

export const ticketParameter = { ticket: { type: 'string', description: 'from POST /api/ticket, for clients that cannot send headers' } }

/** An answer that is no JSON. */
export const textOf = (type: string, description: string): object => ({ description, content: { [type]: { schema: { type: 'string' } } } })

/** What a stream and a read are asked for in their address. */
export const subscriptionQuery = {
  rooms: { type: 'string', description: 'comma list; absent: the public feed' },
  types: { type: 'string', description: 'comma list; absent: every type' },
  join: { type: 'string', description: 'in place of rooms and types: a JSON array of names, or of { room, types }' },
  lastEventId: { type: 'string', description: 'a cursor; the header Last-Event-ID wins. 0-0: every fact that history holds' },
  patch: { type: 'string', description: 'merge: values may come as patches against those that the client holds' },
  ...ticketParameter
}

const paceMs = { minimum: 0, maximum: MAX_PACE_MS, description: 'least ms from one bundle with values to the next; 0 or absent: with every tick; null: no values until it is set again. Facts come as ever' }

export const paceQuery = { paceMs: { type: 'string', pattern: '^(\\d+|null)$', description: `0 to ${MAX_PACE_MS}: ${paceMs.description}` } }

export const readSchema = {
  title: 'Read',
  description: 'What there is, or what is new since the cursor: at most a bundle\'s worth.',
  ...whole({
    position: { type: 'string', enum: ['new', 'resumed', 'reset'] },
    cursor: { type: 'string', description: 'the position behind this answer: the next lastEventId, here or of a stream or a socket' },
    reset: {
      type: ['object', 'null'],
      description: 'forget all values: the present ones follow',
      required: ['reason', 'missed'],
      properties: { reason: { type: 'string', enum: ['trimmed', 'unknown', 'ahead', 'subscription'] }, missed: { type: ['integer', 'null'], minimum: 0 } }
    },
    more: { type: 'boolean', description: 'ask again at once' },
    events: { type: 'array', items: receivedEventSchema, description: 'in id order' }
  })
}

const joinEntry = {
  oneOf: [
    { type: 'string' },
    { type: 'object', required: ['room'], additionalProperties: false, properties: { room: { type: 'string' }, types: { type: 'array', minItems: 1, items: { type: 'string' } } } }
  ]
}

/** What a client sends to join or leave rooms, or to change the pace, on an open connection. */
export const changeSchema = {
  title: 'StreamChange',
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
        patch: { type: ['string', 'null'], description: 'merge: values of these rooms may come as patches' },
        paceMs: { type: ['integer', 'null'], ...paceMs, description: `of the whole connection. ${paceMs.description}` },
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
    },
    {
      type: 'object',
      example: { action: 'pace', paceMs: 1000 },
      required: ['action', 'paceMs'],
      properties: {
        action: { type: 'string', enum: ['pace'] },
        paceMs: { type: ['integer', 'null'], ...paceMs },
        ref: { type: ['string', 'number'] }
      }
    }
  ]
}

/** The data of `joined`, `left` or `paced`. */
export const changedSchema = {
  title: 'StreamChanged',
  description: 'The data of `joined`, `left` or `paced`.',
  type: 'object',
  required: ['cursor'],
  properties: {
    rooms: { type: 'array', items: { type: 'string' }, description: 'of a join or a leave' },
    paceMs: { type: ['integer', 'null'], description: 'of a change of the pace' },
    members: { type: 'object', additionalProperties: { type: 'integer' }, description: 'of a join: over all processes' },
    position: { type: 'string', enum: ['new', 'resumed', 'reset'], description: 'of a join' },
    cursor: { type: ['string', 'null'] }
  }
}
