// The examples of backends that produce only what somebody watches.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { freePort, Stage, until } from '../process/harness.ts'
import { childEnv, need, skipWithout } from '../tools/find.ts'
import { RedisServer } from '../tools/redis.ts'

t.setTimeout(600_000)
const example = (name: string): string => fileURLToPath(new URL(`../../examples/on-demand/${name}`, import.meta.url))

for (const { name, skip, needsRedis } of [
  { name: 'producer.mjs', skip: false as const, needsRedis: false },
  { name: 'producer.py', skip: skipWithout('redis') !== false ? skipWithout('redis') : skipWithout('python'), needsRedis: true }
]) {
  t.test(`${name} produces for a room from its first viewer on, until its last has left, and nothing for others`, { skip, buffered: true }, async t => {
    const stage = new Stage(t)
    const redis = needsRedis ? (await RedisServer.start(t)).url : ''
    const server = await stage.launch({ APP_PROFILE: 'SSE', PORT: await freePort(), ...(needsRedis ? { REDIS_URL: redis } : { DATA_DIR: stage.folder() }) })
    const tool = needsRedis ? need('python') : null
    const backend = spawn(tool?.bin ?? process.execPath, tool === null ? [example(name), server.url] : [example(name)], { env: tool === null ? process.env : childEnv(tool, { REDIS_URL: redis }) })
    t.teardown(() => backend.kill('SIGKILL'))
    let complained = ''
    backend.stderr.setEncoding('utf8').on('data', text => { complained += text })

    const lastIds = async (): Promise<Record<string, string>> => {
      const { rooms } = await (await fetch(`${server.url}/api/rooms`)).json() as { rooms: Array<{ room: string, lastId: string }> }
      return Object.fromEntries(rooms.map(({ room, lastId }) => [room, lastId]))
    }
    const viewers = [1, 2].map(() => stage.follower(server.port, { rooms: ['plant-1'] }))
    for (const viewer of viewers) await viewer.start()
    const values = (): unknown[] => [...viewers[0]?.page.values.values() ?? []].map(({ data }) => data)
    await until('a value', () => values().length === 1)
    const [first] = values()
    await viewers[1]?.stop()
    await until('a newer value', () => values()[0] !== first)
    t.same(Object.keys(await lastIds()).filter(room => !room.startsWith('@')), ['plant-1'], complained)
    await viewers[0]?.stop()
    let before = ''
    await until('nothing more comes', async () => {
      const now = (await lastIds())['plant-1'] as string
      const isSame = before === now
      before = now
      if (!isSame) await new Promise(resolve => setTimeout(resolve, 1500))
      return isSame
    })
    t.equal(complained, '')
  })
}
