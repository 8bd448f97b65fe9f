// Two clients written from docs/protocol.md alone, which readers copy: one in Python's standard library, one over nothing but a TCP
// socket. What they need and the page does not say is a defect of the page.

import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { compareIds } from '../../src/core/id.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { mortal } from '../tools/daemon.ts'
import { childEnv, find } from '../tools/find.ts'
import type { Tool } from '../tools/find.ts'

t.setTimeout(300_000)

const SECRET = 'a secret of the tests that is long enough'
const OTHER: Record<string, string> = { SSE: 'WEBSOCKET', WEBSOCKET: 'SSE' }

const program = (name: string): string => fileURLToPath(new URL(`../../docs/examples/${name}`, import.meta.url))
const python = find('python')
const CLIENTS: Record<string, { tool: Tool, file: string }> = {
  ...('missing' in python ? {} : { 'client.py': { tool: python, file: program('client.py') } }),
  'client.mjs': { tool: { bin: process.execPath, env: {} }, file: program('client.mjs') }
}

/** What a client prints of itself. */
interface Seen {
  readonly profile: string | null
  readonly ready: boolean
  readonly connections: number
  readonly byes: readonly string[]
  readonly resets: readonly string[]
  /** By room, type and key. */
  readonly values: Record<string, any>
  /** The ids of the facts, as they came. */
  readonly facts: readonly string[]
  readonly error: string | null
}

class Stranger {
  readonly ended: Promise<number | null>
  readonly #child
  #printed = ''

  constructor (t: Test, name: string, url: string, rooms: readonly string[], token?: string) {
    const { tool, file } = CLIENTS[name] as { tool: Tool, file: string }
    const command = mortal([tool.bin, file, url, ...rooms])
    this.#child = spawn(command.file, command.args, { env: childEnv(tool, { PYTHONDONTWRITEBYTECODE: '1', ...(token === undefined ? {} : { SIGNALBOX_TOKEN: token }) }), stdio: ['pipe', 'pipe', 'ignore'] })
    this.#child.stdout.setEncoding('utf8').on('data', text => { this.#printed += text })
    this.#child.stdin.on('error', () => {}) // it has ended
    this.ended = new Promise(resolve => this.#child.once('close', resolve))
    t.teardown(async () => {
      this.#child.kill('SIGKILL')
      await this.ended
    })
  }

  get #lines (): string[] {
    return this.#printed.split('\n').slice(0, -1)
  }

  get last (): Seen {
    return JSON.parse(this.#lines.at(-1) as string)
  }

  async ask (): Promise<Seen> {
    const { length } = this.#lines
    this.#child.stdin.write('\n')
    await until('it prints its state', () => this.#lines.length > length)
    return this.last
  }

  /** Waits until its state is so. */
  async until (what: string, done: (seen: Seen) => boolean): Promise<Seen> {
    let seen = await this.ask()
    await until(what, async () => done(seen = await this.ask()), 60_000).catch(error => { throw new Error(`${error.message}: ${JSON.stringify(seen).slice(0, 1000)}`) })
    return seen
  }

  async stop (): Promise<Seen> {
    this.#child.kill('SIGTERM')
    await this.ended
    return this.last
  }
}

/** Both clients. */
function meet (t: Test, url: string, rooms: readonly string[], token?: string): { each: ReadonlyArray<readonly [string, Stranger]>, all: (what: string, done: (seen: Seen) => boolean) => Promise<void> } {
  const each = Object.keys(CLIENTS).map(name => [name, new Stranger(t, name, url, rooms, token)] as const)
  return { each, all: async (what, done) => { await Promise.all(each.map(async ([name, client]) => { await client.until(`${name}: ${what}`, done) })) } }
}

function tokenOf (claims: object, secret = SECRET): string {
  const part = (data: object): string => Buffer.from(JSON.stringify(data)).toString('base64url')
  const text = `${part({ alg: 'HS256' })}.${part({ sub: 'ada', exp: Math.floor(Date.now() / 1000) + 3600, ...claims })}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}

const HOST = { a: { b: 1, c: 'the same in both, so that a patch is shorter than the whole' }, list: [1], gone: true }

for (const profile of ['SSE', 'WEBSOCKET']) {
  t.test(`both clients have the newest values and each fact once, over ${profile}`, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
    const publish = async (...json: object[]): Promise<string[]> => (await request(`${server.url}/api/events`, { json })).body.ids
    await publish({ type: 'cpu', room: 'plant', key: 'host', data: HOST }, { type: 'cpu', room: 'plant', key: 'dead', data: 1 }, { type: 'log', room: 'plant', data: 'before it came' })
    const { each, all } = meet(t, server.url, ['plant', 'yard=alarm'])
    await all('it is ready', ({ ready }) => ready)
    for (const [name, { last }] of each) t.match(last, { profile, values: { 'plant cpu host': HOST, 'plant cpu dead': 1 }, facts: [] }, `${name}: the snapshot`)

    const [first] = await publish({ type: 'log', room: 'plant', data: 'ü\u2028' })
    await all('the first fact', ({ facts }) => facts.length === 1)
    const ids = await publish(
      { type: 'cpu', room: 'plant', key: 'host', data: { ...HOST, a: { ...HOST.a, b: 2 }, gone: undefined } }, { type: 'cpu', room: 'plant', key: 'dead', data: null },
      { type: 'alarm', room: 'yard', data: 'x'.repeat(70_000) }, { type: 'noise', room: 'yard', data: 0 }, { type: 'alarm', data: 'public' }, { type: 'alarm', key: 'level', data: 3 }, { type: 'noise', data: 0 })
    await all('the rest', ({ facts, values }) => facts.length === 3 && values['@public alarm level'] === 3)
    for (const [name, client] of each) {
      const seen = await client.stop()
      t.same(seen.facts, [first, ids[2], ids[4]], `${name}: facts of a room, of a type in a room, and a public one by its type`)
      t.same(seen.values, { 'plant cpu host': { a: { ...HOST.a, b: 2 }, list: [1] }, '@public alarm level': 3 }, `${name}: the newest values`)
      t.match(seen, { connections: 1, resets: [], byes: [], error: null }, `${name}: one connection`)
    }
  })

  t.test(`both clients have every fact once after a kill -9, over ${OTHER[profile]} and back to ${profile}, and begin again at a reset`, async t => {
    const stage = new Stage(t)
    const [port, folder] = [await freePort(), stage.folder()]
    const start = async (env: Env = {}): Promise<Launched> => await stage.launch({ APP_PROFILE: profile, PORT: port, DATA_DIR: folder, RECONNECT_JITTER: 0, ...env })
    let server = await start()
    const { each, all } = meet(t, server.url, ['plant'])
    await all('it is ready', ({ ready }) => ready)
    const publisher = stage.publisher({ name: 'p', url: server.url, rooms: ['plant'], pauseMs: 30, bytes: 100 }).start()
    await all('first facts', ({ facts }) => facts.length > 5)
    await server.kill9()
    server = await start()
    await all('it is back', ({ connections }) => connections === 2)
    await server.stop()
    server = await start({ APP_PROFILE: OTHER[profile] as string })
    await all('it is back over the other profile', ({ connections, profile: now }) => connections === 3 && now === OTHER[profile])
    await request(`${server.url}/api/control`, { json: { command: 'switch', args: { profile } } })
    await all('it is back over the first profile', ({ connections, profile: now }) => connections === 4 && now === profile)
    await publisher.finish()

    const facts = [...publisher.acknowledged.values()].map(({ id }) => id).sort(compareIds)
    await all('the last fact', seen => seen.facts.includes(facts.at(-1) as string))
    const newest = Object.fromEntries([...publisher.newest].map(([field, { sent }]) => [field, sent.data]))
    await all('the newest values', ({ values }) => Object.keys(newest).every(field => values[field]?.n === newest[field]?.n))
    for (const [name, client] of each) {
      const seen = await client.ask()
      t.same(seen.facts, facts, `${name}: each of ${facts.length} facts once, and in order`)
      t.same(seen.values, newest, `${name}: the newest values`)
      t.same([seen.resets, seen.byes, seen.error], [[], ['DRAINING', 'SWITCHED'], null], `${name}: no reset, and why the gateway ended it`)
    }

    await server.stop()
    server = await start({ DATA_DIR: stage.folder() })
    await request(`${server.url}/api/events`, { json: { type: 'cpu', room: 'plant', key: 'new', data: 2 } })
    await all('the reset is over', ({ ready, resets, values }) => ready && resets.length === 1 && values['plant cpu new'] === 2)
    for (const [name, client] of each) {
      const seen = await client.stop()
      t.same([seen.resets, seen.values, seen.facts], [['unknown'], { 'plant cpu new': 2 }, facts], `${name}: of another log the present values alone`)
    }
  })

  t.test(`both clients bring a token, and end with the gateway's message where it is refused, over ${profile}`, async t => {
    const stage = new Stage(t)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder(), AUTH_JWT_SECRET: SECRET })
    const granted = tokenOf({ signalbox: { subscribe: ['plant'], publish: ['plant'] } })
    await request(`${server.url}/api/events`, { json: { type: 'cpu', room: 'plant', key: 'host', data: 1 }, headers: { authorization: `Bearer ${granted}` } })
    const { each, all } = meet(t, server.url, ['plant'], granted)
    await all('it is ready', ({ ready }) => ready)
    for (const [name, client] of each) t.same((await client.stop()).values, { 'plant cpu host': 1 }, `${name}: a token that grants the room`)
    const refused: Record<string, readonly [string | undefined, RegExp]> = {
      none: [undefined, /needs a token/],
      'of another secret': [tokenOf({}, 'another secret, which is as long as it'), /not accepted/],
      'without the room': [tokenOf({ signalbox: { subscribe: ['yard'] } }), /may not hear plant/],
      'that expires soon': [tokenOf({ exp: Math.floor(Date.now() / 1000) + 3, signalbox: { subscribe: ['plant'] } }), /has expired/]
    }
    await Promise.all(Object.entries(refused).flatMap(([what, [token, error]]) => meet(t, server.url, ['plant'], token).each.map(async ([name, client]) => {
      t.equal(await client.ended, 1, `${name}: a token ${what} ends it`)
      t.match(client.last, { error }, `${name}: with the message of the gateway`)
    })))
  })
}

for (const name of Object.keys(CLIENTS)) {
  t.test(`${name} skips what it does not know, leaves a silent stream, and takes nothing from a later protocol`, async t => {
    /** The cursor that each stream was asked with, and what it then sends. */
    const asked: Array<string | undefined> = []
    const fact = (n: number): string => `id: c${n}\ndata: [{"id":"${n}-0","type":"log","room":"plant","data":${n},"colour":"red"}]\n\n`
    const hello = (protocol: number, position: string, id: string): string => `id: ${id}\nevent: hello\ndata: {"profile":"SSE","protocol":${protocol},"position":"${position}","mood":"good"}\nretry: 20\n\n`
    const streams = [
      `: a comment\n\n${hello(1, 'new', 'c0')}event: weather\ndata: "sun"\n\nevent: ready\ndata: {"keys":0,"rooms":["plant"]}\n\n${fact(1)}id: c2\ndata: [{"id":"2-0",`,
      `${hello(1, 'resumed', 'c1')}${fact(2)}event: bye\ndata: {"reason":"TEA_TIME","retryMs":20}\n\n`,
      `${hello(2, 'resumed', 'c2')}${fact(3)}`
    ]
    const server = createServer((request, response) => {
      if (request.url === '/base/api/profile') return response.end('{"profile":"SSE","stream":"/api/events/stream","websocket":null,"pingIntervalMs":400,"protocol":1,"features":["patch","wings"]}')
      asked.push(request.headers['last-event-id'] as string | undefined)
      response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(streams[asked.length - 1])
    })
    await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    const client = new Stranger(t, name, `http://127.0.0.1:${(server.address() as AddressInfo).port}/base`, ['plant'])
    const seen = await client.until('it must be updated', ({ error }) => error !== null)
    t.match(seen.error, /must be updated/)
    t.same([seen.facts, seen.byes, asked], [['1-0', '2-0'], ['TEA_TIME'], [undefined, 'c1', 'c2']], 'it came back with the cursor before the message that was cut')
  })
}
