// Viewers in Python with the limits that their libraries have by themselves: a room of some thousand keys is for them too.

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { request, Stage } from '../process/harness.ts'
import type { Launched } from '../process/harness.ts'
import { childEnv, need, skipWithout } from '../tools/find.ts'

const KEYS = 4000
const skip = skipWithout('asyncio')

/** A gateway with its defaults, whose room `plant` holds 1.7 MB in 4,000 keys. */
async function crowded (t: Test, profile: ProfileName): Promise<Launched> {
  const stage = new Stage(t)
  const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
  for (let first = 0; first < KEYS; first += 1000) {
    const json = Array.from({ length: 1000 }, (_, n) => ({ type: 'value', room: 'plant', key: `host-${first + n}`, data: 'x'.repeat(300) }))
    t.equal((await request(`${server.url}/api/events`, { json })).status, 202)
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
