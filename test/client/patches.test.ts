// Patches on the wire, and a box that makes whole values of them.

import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../src/client/node.ts'
import type { Event } from '../../src/client/index.ts'
import { until } from '../process/harness.ts'
import { PROFILES, startServer } from '../wire/harness.ts'

const value = (n: number, more: object = {}): object => ({ type: 'cpu', room: 'a', key: 'host', data: { name: 'v'.repeat(80), n, load: [n], in: { x: n, y: { z: 1 } }, ...more } })

/** Counts the patches that this process is sent. */
function watchPatches (t: Test): { count: number, Socket: typeof globalThis.WebSocket } {
  const seen = { count: 0, Socket: globalThis.WebSocket }
  const count = (text: string): void => { seen.count += text.split('"patch":').length - 1 }
  const { fetch } = globalThis
  globalThis.fetch = async (...args) => {
    const response = await fetch(...args)
    const through = new TransformStream<Uint8Array, Uint8Array>({
      transform (bytes, controller) {
        count(new TextDecoder().decode(bytes))
        controller.enqueue(bytes)
      }
    })
    return response.body === null ? response : Object.defineProperty(new Response(response.body.pipeThrough(through), response), 'url', { value: response.url })
  }
  t.teardown(() => { globalThis.fetch = fetch })
  seen.Socket = class extends WebSocket {
    constructor (...args: ConstructorParameters<typeof WebSocket>) {
      super(...args)
      this.on('message', data => count(String(data)))
    }
  } as unknown as typeof globalThis.WebSocket
  return seen
}

for (const profile of PROFILES) {
  t.test(`over ${profile} a box asks for patches; handlers and state have whole values, which share what has not changed`, async t => {
    const server = await startServer({ profile, limits: { tickMs: 0, tickFloorMs: 0 } })
    t.teardown(async () => await server.close())
    const wire = watchPatches(t)
    await server.publish(value(0))
    const box = connect(server.url, { rooms: ['a'], WebSocket: wire.Socket })
    t.teardown(() => box.close())
    const events: Event[] = []
    box.on('event', event => events.push(event))
    await until('connected', async () => box.status.state === 'connected')
    const before = box.state.get('a', 'cpu', 'host') as unknown as { data: { in: { y: object }, n: number } }
    await server.publish(value(1))
    await server.publish(value(2, { in: { y: { z: 1 } }, more: true }))
    await until('all are there', async () => events.length === 3)
    t.equal(wire.count, 2)
    t.same(events.map(({ data }) => data), [value(0), value(1), value(2, { in: { y: { z: 1 } }, more: true })].map(event => (event as Event).data))
    t.notOk(events.some(event => 'patch' in event))
    const after = box.state.get('a', 'cpu', 'host') as unknown as typeof before
    t.equal(after, events[2])
    t.not(after.data, before.data)
    t.equal(before.data.n, 0, 'the value before is left as it was')
    t.equal(after.data.in.y, before.data.in.y)

    t.match(await box.join(['b']), { rooms: ['b'] })
    for (const n of [1, 2]) {
      await server.publish({ ...value(n), room: 'b' })
      await until('it is there', async () => events.length === 3 + n)
    }
    t.equal(wire.count, 3, 'a room that was joined later has them too')
    t.same(events[4]?.data, (value(2) as Event).data)

    // Cut off, it comes back to what it holds.
    await server.gateway.operator.disconnect({ room: 'a' })
    await server.publish(value(3))
    await until('it is back', async () => events.length === 6)
    await server.publish(value(4))
    await until('it goes on', async () => events.length === 7)
    t.same(events.slice(5).map(({ data }) => data), [value(3), value(4)].map(event => (event as Event).data))
    t.equal(events.length, 7)
  })

  t.test(`over ${profile} a box that begins with a saved cursor holds nothing, and asks for whole values`, async t => {
    const server = await startServer({ profile, limits: { tickMs: 0, tickFloorMs: 0 } })
    t.teardown(async () => await server.close())
    const wire = watchPatches(t)
    await server.publish(value(0))
    const first = connect(server.url, { rooms: ['a'], WebSocket: wire.Socket })
    await until('connected', async () => first.status.state === 'connected')
    first.close()
    const box = connect(server.url, { rooms: ['a'], lastEventId: first.lastEventId, WebSocket: wire.Socket })
    t.teardown(() => box.close())
    await until('connected again', async () => box.status.state === 'connected')
    await server.publish(value(1))
    await until('it is there', async () => box.state.size === 1)
    t.same(box.state.get('a', 'cpu', 'host')?.data, (value(1) as Event).data)
    t.equal(wire.count, 0)
  })
}

t.test('a patch of a value that is not there makes the box come back for whole values', async t => {
  const server = await startServer({ profile: 'SSE', limits: { tickMs: 0, tickFloorMs: 0 } })
  t.teardown(async () => await server.close())
  const { fetch } = globalThis
  let isDamaged = true
  // The present value gets lost on its way.
  globalThis.fetch = async (...args) => {
    const response = await fetch(...args)
    if (!String(args[0]).includes('/stream') || !isDamaged || response.body === null) return response
    const through = new TransformStream<Uint8Array, Uint8Array>({
      transform (bytes, controller) { controller.enqueue(new TextEncoder().encode(new TextDecoder().decode(bytes).replace('"key":"host","data":', '"key":"lost","data":'))) }
    })
    return Object.defineProperty(new Response(response.body.pipeThrough(through), response), 'url', { value: response.url })
  }
  t.teardown(() => { globalThis.fetch = fetch })
  await server.publish(value(0))
  const box = connect(server.url, { rooms: ['a'] })
  t.teardown(() => box.close())
  await until('connected', async () => box.status.state === 'connected')
  isDamaged = false
  const heard: unknown[] = []
  box.on('event', ({ key, data }) => { if (key !== 'host') heard.push(data) })
  await server.gateway.publish([{ type: 'cpu', room: 'a', key: 'before', data: 1 }, value(1), { type: 'log', room: 'a', data: 2 }] as never)
  await until('its value is there', async () => box.state.get('a', 'cpu', 'host') !== undefined && heard.length > 1)
  t.same(box.state.get('a', 'cpu', 'host')?.data, (value(1) as Event).data)
  t.same(heard, [1, 2], 'and no event of the same bundle is lost')
})

t.test('public values of the types of a join stay when the public feed is left, and patches of them go on', async t => {
  const server = await startServer({ profile: 'SSE', limits: { tickMs: 0, tickFloorMs: 0 } })
  t.teardown(async () => await server.close())
  const wire = watchPatches(t)
  const ofFeed = (n: number, type = 'cpu'): object => ({ ...value(n), room: undefined, type })
  await server.publish(ofFeed(0))
  await server.publish(ofFeed(0, 'disk'))
  const box = connect(server.url)
  t.teardown(() => box.close())
  const codes: unknown[] = []
  box.on('status', status => codes.push('code' in status ? status.code : ''))
  await until('connected', async () => box.status.state === 'connected')
  await box.join([{ room: 'a', types: ['cpu'] }])
  await box.leave(['@public'])
  t.same([...box.state.entries()].map(({ type }) => type), ['cpu'])
  await server.publish(ofFeed(1))
  const now = (): unknown => (box.state.get('@public', 'cpu', 'host')?.data as { n?: number } | undefined)?.n
  await until('it goes on', async () => now() === 1)
  t.equal(wire.count, 1)
  t.notOk(codes.some(code => code !== ''), 'over the same connection')
})

t.test('what was on its way when a room was left, and is joined again, ends no connection', async t => {
  const server = await startServer({ profile: 'SSE', limits: { tickMs: 0, tickFloorMs: 0 } })
  t.teardown(async () => await server.close())
  const { fetch } = globalThis
  let gate: Promise<void> = Promise.resolve()
  globalThis.fetch = async (...args) => {
    const response = await fetch(...args)
    if (args[1]?.method === 'POST' || !String(args[0]).includes('/stream') || response.body === null) return response
    const through = new TransformStream<Uint8Array, Uint8Array>({
      async transform (bytes, controller) {
        await gate
        controller.enqueue(bytes)
      }
    })
    return Object.defineProperty(new Response(response.body.pipeThrough(through), response), 'url', { value: response.url })
  }
  t.teardown(() => { globalThis.fetch = fetch })
  await server.publish(value(0))
  const box = connect(server.url, { rooms: ['a', 'b'] })
  t.teardown(() => box.close())
  await until('connected', async () => box.state.size === 1 && box.status.state === 'connected')
  const states: string[] = []
  box.on('status', ({ state }) => states.push(state))
  let open = (): void => {}
  gate = new Promise(resolve => { open = resolve })
  await server.publish(value(1))
  await box.leave(['a'])
  await box.join(['a'])
  await server.publish({ type: 'log', room: 'b', data: 1 })
  const heard = new Promise<void>(resolve => { box.on('event', ({ type }) => { if (type === 'log') resolve() }) })
  open()
  await heard
  await until('its value is there', async () => box.state.size === 1)
  t.same(box.state.get('a', 'cpu', 'host')?.data, (value(1) as Event).data)
  t.notOk(states.includes('stale'))
})

t.test('a page that is hidden gets its values also after a reset', async t => {
  const server = await startServer({ profile: 'SSE', limits: { tickMs: 0, tickFloorMs: 0 } })
  t.teardown(async () => await server.close())
  Object.assign(globalThis, { document: Object.assign(new EventTarget(), { hidden: true }) })
  t.teardown(() => { Reflect.deleteProperty(globalThis, 'document') })
  await server.publish(value(0))
  const box = connect(server.url, { rooms: ['a'], lastEventId: '1-0~unknown' })
  t.teardown(() => box.close())
  let resets = 0
  box.on('reset', () => resets++)
  await until('its values are there', async () => box.state.size === 1 && box.status.state === 'connected')
  t.equal(resets, 1)
})

t.test('a gateway that refuses what a newer one has named is asked once more without it', async t => {
  const server = await startServer({ profile: 'SSE', limits: { tickMs: 0, tickFloorMs: 0 } })
  t.teardown(async () => await server.close())
  const { fetch } = globalThis
  let refusals = 0
  // The profile is answered by a newer gateway than the stream.
  globalThis.fetch = async (...args) => {
    if (!/\/stream\?.*(patch|paceMs)=/.test(String(args[0]))) return await fetch(...args)
    refusals++
    return Response.json({ statusCode: 400, code: 'BAD_SUBSCRIPTION', message: 'unknown parameter' }, { status: 400 })
  }
  t.teardown(() => { globalThis.fetch = fetch })
  await server.publish(value(0))
  const box = connect(server.url, { rooms: ['a'], paceMs: 100 })
  t.teardown(() => box.close())
  await until('connected, or refused', async () => ['connected', 'refused'].includes(box.status.state))
  t.equal(box.status.state, 'connected')
  t.match(await box.join(['b']), { rooms: ['b'] })
  t.equal(refusals, 1)
})
