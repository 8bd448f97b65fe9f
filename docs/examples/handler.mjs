// A backend that serves a command over Redis. Start as many as you like: each command goes to exactly one of them.
//
//   REDIS_URL=redis://127.0.0.1:6379 node docs/examples/handler.mjs
//   curl -X POST http://127.0.0.1:3000/api/control -H 'Content-Type: application/json' \
//     -d '{"command": "move", "args": {"axis": "x", "to": 12}}'

import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'

const COMMAND = 'move'
// What the gateway knows about this command. `retry`: whether it may run again on another backend if this one dies while it
// runs. `timeout`: seconds until this backend counts as dead. `schema`: the gateway refuses invalid arguments.
const DECLARATION = {
  description: 'Moves an axis to a position.',
  retry: false,
  timeout: 30,
  schema: {
    type: 'object',
    required: ['axis', 'to'],
    additionalProperties: false,
    properties: { axis: { enum: ['x', 'y', 'z'] }, to: { type: 'number' }, seconds: { type: 'number', minimum: 0, maximum: 20 } }
  }
}

// The return value is the result, any JSON. A thrown error is the error. `id` is the same in every attempt.
async function move ({ axis, to, seconds = 0 }, { id, caller, attempt }) {
  console.log(`run ${id} attempt ${attempt} for ${caller}`)
  if (to > 1000) throw new Error(`axis ${axis} ends at 1000`)
  await delay(seconds * 1000)
  return { axis, position: to }
}

const prefix = process.env.REDIS_PREFIX ?? 'signalbox:'
const stream = `${prefix}commands:${COMMAND}`
const me = `${hostname()}:${process.pid}`
// ioredis reconnects and repeats what was being sent. That is safe: an answer that arrives twice counts once.
const redis = new Redis(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', {
  maxRetriesPerRequest: null,
  socketTimeout: 30_000,
  retryStrategy: times => Math.min(times * 100, 1000)
})
redis.on('error', error => console.error(error.message))

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort())

while (!stop.signal.aborted) {
  try {
    await redis.hset(`${prefix}handlers`, COMMAND, JSON.stringify(DECLARATION))
    await redis.xgroup('CREATE', stream, 'handlers', '0', 'MKSTREAM').catch(error => { if (!/BUSYGROUP/.test(error.message)) throw error })
    console.log(`serving ${COMMAND} as ${me}`)
    while (!stop.signal.aborted) {
      const reply = await redis.xreadgroup('GROUP', 'handlers', me, 'COUNT', 1, 'BLOCK', 2000, 'STREAMS', stream, '>')
      if (reply !== null) await serve(reply[0][1][0])
    }
  } catch (error) {
    // The loop declares the command again, also after Redis was emptied.
    console.error(error.message)
    await delay(1000)
  }
}
redis.disconnect()

async function serve ([entry, [, id, , args, , caller, , attempt]]) {
  let answer
  try {
    answer = ['result', JSON.stringify(await move(JSON.parse(args), { id, caller, attempt: Number(attempt) }) ?? null)]
  } catch (error) {
    answer = ['error', error.message]
  }
  await redis.xadd(`${prefix}results`, '*', 'id', id, 'entry', entry, ...answer)
}
