// What one caller within its limits can do to a small gateway: it must outlive each of these with a heap of 256 MiB,
// while somebody else is answered.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { request, Stage } from './harness.ts'
import type { Answer, Launched } from './harness.ts'

t.setTimeout(600_000)

const HEAP_MIB = 256
/** On a quiet machine a second is enough. */
const PATIENCE_MS = 8000
const LARGEST = 'x'.repeat(2_000_000)

interface Scene {
  readonly t: Test
  readonly stage: Stage
  readonly server: Launched
  readonly profile: ProfileName
  /** Kills the gateway and starts it again over the same store. */
  restart (): Promise<Launched>
}

interface Attack {
  /** Completes `outlives …`. */
  readonly what: string
  readonly profiles: readonly ProfileName[]
  readonly env?: Record<string, string | number>
  readonly run: (scene: Scene) => Promise<void>
}

const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}${index.toString(36)}`)

const publish = async ({ url }: Launched, events: readonly object[]): Promise<Answer> => await request(`${url}/api/events`, { json: events })

const ATTACKS: readonly Attack[] = [
  {
    what: 'refused joins, each of a thousand rooms with a hundred types',
    profiles: ['SSE', 'WEBSOCKET'],
    async run ({ t, stage, server, profile }) {
      const JOINS = 200
      const rooms = (join: number): string[] => names(`${join.toString(36)}-`, 1000)
      const types = names('t', 100)
      if (profile === 'SSE') {
        for (let join = 0; join < JOINS; join++) {
          t.equal((await request(`${server.url}/api/events/stream?rooms=${rooms(join).join()}&types=${types.join()}`)).body.code, 'BAD_SUBSCRIPTION')
        }
        return
      }
      for (let join = 0; join < JOINS;) {
        const client = await stage.client(profile, server.port, { rooms: ['mine'] })
        const { length } = client.messages
        for (const end = join + 20; join < end; join++) client.say({ action: 'join', rooms: rooms(join), types, ref: join })
        await client.until(() => client.messages.slice(length).filter(({ kind }) => kind === 'error').length >= 19)
        client.cut()
      }
    }
  },
  {
    what: 'a publisher that gives each event a key of its own',
    profiles: ['SSE'],
    env: { MAX_KEYS_PER_ROOM: 100_000_000 },
    async run (scene) {
      const { t } = scene
      let answer: Answer | null = null
      for (let batch = 0; answer?.status !== 409; batch++) {
        answer = await publish(scene.server, names(`${batch}-`, 1000).map(key => ({ type: 'log', room: 'logs', key, data: 'x'.repeat(500) })))
        if (batch === 1000) break
      }
      t.match(answer, { status: 409, body: { code: 'STATE_FULL', message: /room logs has the most/ } })
      await cleaned(scene, 'logs')
    }
  },
  {
    what: 'values as large as they may be',
    profiles: ['SSE'],
    async run (scene) {
      const { t } = scene
      let answer: Answer | null = null
      for (let key = 0; answer?.status !== 409 && key < 300; key++) {
        answer = await publish(scene.server, [{ type: 'log', room: 'logs', key: `key-${key}`, data: LARGEST }])
      }
      t.match(answer, { status: 409, body: { code: 'STATE_FULL' } })
      await cleaned(scene, 'logs')
    }
  }
]

/** A restart comes up over what is there, and a room can be cleared so that publishing goes on. */
async function cleaned ({ t, restart }: Scene, room: string): Promise<void> {
  const server = await restart()
  t.equal((await publish(server, [{ type: 'log', room: 'others', key: 'one', data: LARGEST }])).body.code, 'STATE_FULL')
  t.equal((await request(`${server.url}/api/control`, { json: { command: 'clear', args: { room } } })).status, 200)
  t.equal((await publish(server, [{ type: 'log', room: 'others', key: 'one', data: LARGEST }])).status, 202)
}

for (const { what, profiles, env = {}, run } of ATTACKS) {
  for (const profile of profiles) {
    t.test(`a gateway with a heap of ${HEAP_MIB} MiB outlives ${what} (${profile})`, async t => {
      const stage = new Stage(t)
      const settings = { APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}`, ...env }
      let server = await stage.launch(settings)
      let slowest = 0
      const over = new AbortController()
      const bystander = (async () => {
        for (; !over.signal.aborted; await delay(50)) {
          const began = performance.now()
          const alive = await request(`${server.url}/healthz`).then(({ status }) => status === 200, () => false)
          // A restart of the test's own is not counted.
          if (alive) slowest = Math.max(slowest, performance.now() - began)
        }
      })()
      const scene: Scene = {
        t,
        stage,
        get server () { return server },
        profile,
        restart: async () => {
          await server.kill9()
          server = await stage.launch(settings)
          return server
        }
      }
      try {
        await run(scene)
      } finally {
        over.abort()
        await bystander
      }
      const client = await stage.client(profile, server.port, { rooms: ['bystanders'] })
      await client.untilKind('ready')
      t.equal((await publish(server, [{ type: 'a', room: 'bystanders', data: 1 }])).status, 202)
      await client.until(() => client.events.length === 1)
      t.ok(slowest < PATIENCE_MS, `others are answered within ${Math.round(slowest)} ms`)
      t.equal(server.child.exitCode, null)
    })
  }
}
