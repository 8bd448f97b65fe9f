// Viewers in Python with the limits that their libraries have by themselves: a room of some thousand keys is for them too.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { childEnv, need, skipWithout } from '../tools/find.ts'
import { startServer } from '../wire/harness.ts'
import type { Server } from '../wire/harness.ts'

const KEYS = 4000
const skip = skipWithout('asyncio')

/** A gateway whose room `plant` holds 1.7 MB in 4,000 keys. */
async function crowded (t: Test, profile: ProfileName): Promise<Server> {
  const server = await startServer({ profile })
  t.teardown(async () => await server.close())
  for (let first = 0; first < KEYS; first += 1000) {
    await server.publish(...Array.from({ length: 1000 }, (_, n) => ({ type: 'value', room: 'plant', key: `host-${first + n}`, data: 'x'.repeat(300) })))
  }
  return server
}

const python = async (name: string, ...args: string[]): Promise<string> => {
  const tool = need('asyncio')
  const program = fileURLToPath(new URL(`programs/${name}.py`, import.meta.url))
  return (await promisify(execFile)(tool.bin, [program, ...args], { env: childEnv(tool), timeout: 60_000 })).stdout.trim()
}

t.test("a WebSocket of Python's websockets, at most 1 MiB a message, reads a room of 4,000 keys", { skip }, async t => {
  const { port } = await crowded(t, 'WEBSOCKET')
  t.equal(await python('read_socket', `ws://127.0.0.1:${port}/api/events/ws`, 'plant'), String(KEYS))
})

for (const library of ['asyncio', 'aiohttp']) {
  t.test(`a stream read line by line with ${library}, at most 64 KiB a line, has a room of 4,000 keys`, { skip }, async t => {
    const { url } = await crowded(t, 'SSE')
    t.equal(await python('read_stream', library, `${url}/api/events/stream?rooms=plant`), String(KEYS))
  })
}
