// One anonymous client against a small gateway: whatever of the allowed it does, the process lives within its memory, and
// somebody else is answered meanwhile.

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { PROFILES } from '../wire/harness.ts'
import type { ProfileName } from '../../profiles/index.ts'
import { getRequest, maskedFrame, PING, TEXT, upgradeHeaders } from '../wire/codec.ts'
import { request, Stage, until } from './harness.ts'
import type { Launched } from './harness.ts'

t.setTimeout(600_000)
t.jobs = 2

const HEAP_MIB = 256
const MIB = 1024 * 1024
/** A small gateway and 64 MiB of what is unfinished, and half as much again for what the allocator has not given back. */
const MAX_RSS_MIB = 400

/** The hands of one client. */
interface Hands {
  readonly profile: ProfileName
  /** A connection with these first bytes. Its answers are read. */
  dial (bytes?: string | Buffer): Socket
  /** A WebSocket, or the same again while it lives. */
  socket (): Socket
  /** Does something 20 times a second. */
  twenty (act: (n: number) => void): Promise<void>
}

interface Attack {
  readonly what: string
  readonly profiles: readonly ProfileName[]
  readonly run: (hands: Hands) => Promise<void>
}

const ATTACK_MS = 5000
const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}${index.toString(36)}`)
const say = (message: object): Buffer => maskedFrame(TEXT, Buffer.from(JSON.stringify(message)))
const post = (body: string): string => `POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
const chunked = 'POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
const streamOf = (rooms: readonly string[]): string => getRequest(`/api/events/stream?rooms=${rooms.join()}`, { Host: '127.0.0.1' })

/** A frame that is not its message's last. */
function unfinished (frame: Buffer): Buffer {
  frame[0] = (frame[0] as number) & 0x7f
  return frame
}

const ATTACKS: readonly Attack[] = [
  {
    what: 'joins that are refused',
    profiles: PROFILES,
    run: async ({ profile, dial, socket, twenty }) => await twenty(n => {
      if (profile === 'SSE') dial(streamOf(names(`${n}-`, 101)))
      else socket().write(say({ action: 'join', rooms: names(`${n}-`, 1000), types: names('t', 100) }))
    })
  },
  {
    what: 'the largest events, of as many members as fit',
    profiles: PROFILES,
    run: async ({ profile, dial, socket, twenty }) => {
      const event = { type: 'a', room: 'big', data: Object.fromEntries(names('m', 49_000).map(name => [name, 1])) }
      const [body, message] = [post(JSON.stringify(event)), say({ action: 'control', command: 'publish', args: { event } })]
      let publisher = dial()
      await twenty(() => {
        if (profile === 'WEBSOCKET') socket().write(message)
        else {
          if (publisher.destroyed) publisher = dial()
          publisher.write(body)
        }
      })
    }
  },
  {
    what: 'rooms and keys without end',
    profiles: PROFILES,
    run: async ({ dial, twenty }) => {
      let publisher = dial()
      await twenty(n => {
        if (publisher.destroyed) publisher = dial()
        publisher.write(post(JSON.stringify(names(`${n}-`, 1000).map(key => ({ type: 'a', room: `rooms-${key}`, key, data: 'x'.repeat(500) })))))
      })
    }
  },
  {
    what: 'answers that are not read',
    profiles: PROFILES,
    run: async ({ profile, dial, twenty }) => await twenty(n => {
      dial(n % 2 === 0 ? getRequest('/docs/static/swagger-ui-bundle.js', { Host: '127.0.0.1' }).repeat(10) : profile === 'SSE' ? streamOf(['healthy']) : getRequest('/api/events/ws', { Host: '127.0.0.1', ...upgradeHeaders() })).pause()
    })
  },
  {
    what: 'bodies of which the end never comes',
    profiles: PROFILES,
    run: async ({ dial, twenty }) => {
      const rest = Buffer.alloc(2_000_000, ' ')
      await twenty(() => { for (let n = 0; n < 3; n++) dial(post(' '.repeat(2_097_000)).slice(0, 200)).write(rest) })
    }
  },
  {
    what: 'bodies in crumbs',
    profiles: PROFILES,
    run: async ({ dial, twenty }) => {
      const crumbs = '1\r\n \r\n'.repeat(2000)
      await twenty(() => { dial(chunked + crumbs) })
    }
  },
  {
    what: 'messages in fragments of which the last never comes',
    profiles: ['WEBSOCKET'],
    run: async ({ dial, twenty }) => {
      const frame = unfinished(maskedFrame(TEXT, Buffer.alloc(2_000_000, 'x')))
      await twenty(() => { for (let n = 0; n < 2; n++) dial(getRequest('/api/events/ws', { Host: '127.0.0.1', ...upgradeHeaders() })).write(frame) })
    }
  },
  {
    what: 'ten thousand pings a second by a client that reads nothing',
    profiles: ['WEBSOCKET'],
    run: async ({ socket, twenty }) => {
      const flood = Buffer.concat(Array.from({ length: 500 }, () => maskedFrame(PING, Buffer.alloc(125, 'p'))))
      await twenty(() => { socket().pause().write(flood) })
    }
  }
]

const rssMiB = ({ pid }: Launched): number => {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}

function handsOf (t: Test, profile: ProfileName, port: number): Hands {
  const sockets: Socket[] = []
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  const dial = (bytes?: string | Buffer): Socket => {
    const socket = connect(port, '127.0.0.1').on('error', () => {}).on('data', () => {})
    sockets.push(socket)
    if (bytes !== undefined) socket.write(bytes)
    return socket
  }
  let last: Socket | null = null
  return {
    profile,
    dial,
    socket () {
      if (last === null || last.destroyed) last = dial(getRequest('/api/events/ws', { Host: '127.0.0.1', ...upgradeHeaders() }))
      return last
    },
    async twenty (act) {
      for (let n = 0; n < ATTACK_MS / 50; n++) {
        act(n)
        await delay(50)
      }
    }
  }
}

for (const { what, profiles, run } of ATTACKS) {
  for (const profile of profiles) {
    t.test(`${profile}: a gateway with a heap of ${HEAP_MIB} MiB outlives ${what}, and answers others meanwhile`, async t => {
      const stage = new Stage(t)
      const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}` })
      const healthy = await stage.client(profile, server.port, { rooms: ['healthy'] })
      await healthy.untilKind('ready')
      let answers = 0
      let slowest = 0
      let largest = 0
      const over = new AbortController()
      const bystander = (async () => {
        for (let n = 0; !over.signal.aborted; n++) {
          const began = performance.now()
          // An event of its own comes back: publishing, the store and the stream all work.
          const { status } = await request(`${server.url}/api/events`, { json: { type: 'ping', room: 'healthy', data: n } })
          if (status !== 202) throw new Error(`a healthy client got ${status}`)
          await healthy.until(() => healthy.events.at(-1)?.data === n)
          answers++
          slowest = Math.max(slowest, performance.now() - began)
          largest = Math.max(largest, rssMiB(server))
          await delay(50)
        }
      })()
      try {
        await run(handsOf(t, profile, server.port))
      } finally {
        over.abort()
        await bystander
      }
      t.equal(server.child.exitCode, null)
      t.notOk(healthy.closed)
      t.ok(answers >= 3, `${answers} answers, the slowest after ${Math.round(slowest)} ms`)
      t.ok(slowest < 60_000)
      t.ok(largest < MAX_RSS_MIB, `${Math.round(largest)} MiB`)
    })
  }
}

t.test('clients that take every descriptor they can leave the store enough to publish, and one more is refused with 503', { skip: process.platform !== 'linux' && 'the limit is read on Linux only' }, async t => {
  const DESCRIPTORS = 256
  for (const profile of PROFILES) {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), MAX_ROOM_SIZE: 0 }, { descriptors: DESCRIPTORS })
    const publisher = handsOf(t, profile, server.port).dial()
    let said = ''
    publisher.on('data', data => { said += data.toString() })
    publisher.write(post('{"type":"a","data":0}'))
    await until('an answer', () => /202/.test(said))
    const { dial } = handsOf(t, profile, server.port)
    const taken: Socket[] = []
    let refusal = ''
    for (let n = 0; n < 400; n++) {
      taken.push(dial().on('data', data => { refusal ||= data.toString() }))
      if (n % 20 === 19) await delay(10)
    }
    await until('refusals', () => refusal !== '' && taken.filter(({ destroyed }) => destroyed).length > 150)
    t.match(refusal, /^HTTP\/1\.1 503 [^]*Retry-After: 1\r\n/)
    // Large enough that LevelDB opens files of its own.
    for (let n = 0; n < 20; n++) {
      said = ''
      publisher.write(post(JSON.stringify({ type: 'a', room: 'r', key: `k${n}`, data: 'x'.repeat(MIB) })))
      await until('an answer', () => /HTTP\/1\.1 \d/.test(said))
      t.match(said, /^HTTP\/1\.1 202 /)
    }
    for (const socket of taken) socket.destroy()
    await until('room again', async () => (await request(`${server.url}/healthz`).catch(() => null))?.status === 200)
    const { text } = await request(`${server.url}/metrics`)
    t.ok(Number(/shed_total\{.*reason="descriptors".*\} (\d+)/.exec(text)?.[1]) > 150)
    t.equal(await server.stop(), 0)
  }
})
