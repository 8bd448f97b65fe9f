// Below its prefix in somebody's Fastify app the gateway answers everything itself, and what would keep it from that is named.

import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../src/client/node.ts'
import signalbox from '../../src/plugin/index.ts'
import type { PluginOptions } from '../../src/plugin/index.ts'

const live: PluginOptions = { dataDir: ':memory:', prefix: '/live' }

function appOf (t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(async () => await app.close().catch(() => {}))
  app.setErrorHandler(async ({ message }: Error, _request, reply) => await reply.code(400).send({ theirs: message }))
  app.setNotFoundHandler(async (_request, reply) => await reply.code(404).send({ theirs: 'not found' }))
  return app
}

async function listen (app: FastifyInstance): Promise<string> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

/** Sends what `fetch` would not. */
const ask = async (base: string, method: string, path: string, type?: string): Promise<any> => await new Promise((resolve, reject) => {
  const { hostname, port } = new URL(base)
  request({ hostname, port, method, path, headers: type === undefined ? {} : { 'Content-Type': type } }, answer => {
    let text = ''
    answer.setEncoding('utf8').on('data', more => { text += more }).on('end', () => resolve(text === '' ? answer.statusCode : JSON.parse(text)))
  }).on('error', reject).end(type === undefined ? undefined : '{}')
})

t.test('no error below the prefix is the app\'s to answer', async t => {
  const app = appOf(t)
  await app.register(signalbox, live)
  const url = await listen(app)
  for (const path of ['/live/%zz', '/live/api/control/%ff', '/live/api/events/%', 'http://a.example/live/%zz']) t.match(await ask(url, 'GET', path), { statusCode: 400, code: 'BAD_REQUEST', message: /behind each %/ }, path)
  for (const type of ['text/csv', 'garbage', '']) t.match(await ask(url, 'POST', '/live/api/events', type), { statusCode: 415, code: 'UNSUPPORTED_MEDIA_TYPE' }, type)
  t.match(await ask(url, 'PROPFIND', '/live/api/events'), { statusCode: 405, code: 'METHOD_NOT_ALLOWED', message: /it has GET, HEAD, OPTIONS, POST/ })
  t.match(await ask(url, 'MKCOL', '/live/nothing'), { statusCode: 404, code: 'NOT_FOUND' })
  t.match(await ask(url, 'POST', '/mine', 'garbage'), { theirs: 'Unsupported Media Type' }, 'elsewhere all are')
  t.match(await ask(url, 'GET', '/mine/%zz'), { code: 'FST_ERR_BAD_URL' })
  t.match(await ask(url, 'PROPFIND', '/mine'), { theirs: 'not found' })
})

const answer = async (): Promise<string> => 'theirs'

for (const [route, example] of [['/live/*', '/live/'], ['/live/:page', '/live/'], ['/live/api/:x/:y', '/live/api/'], ['/live/api/profile', '/live/api/profile'], ['/live/docs/:file', '/live/docs/']] as const) {
  t.test(`a route of the app's that would answer for the gateway is named: ${route}`, async t => {
    const message = new RegExp(`the app's route GET ${route.replace(/:\w+/g, ':part').replace('*', '\\*')} would answer requests for the gateway at /live, such as ${example}.*another prefix`)
    const before = appOf(t)
    before.get(route, answer)
    await t.rejects(async () => { await before.register(signalbox, live); await before.ready() }, { name: 'ConfigError', message }, 'where it was there before')
    if (route === '/live/*') return
    const after = appOf(t)
    await after.register(async scope => await scope.register(signalbox, live))
    await after.register(async scope => { scope.get(route, answer) })
    await t.rejects(async () => await after.ready(), { name: 'ConfigError', message }, 'where it comes later')
  })
}

t.test('a route of the app\'s that takes nothing from the gateway may lie below its prefix, and a page at it', async t => {
  const app = appOf(t)
  app.get('/live', answer)
  await app.register(signalbox, live)
  app.get('/live/mine/:x', answer)
  app.get('/:any/*', answer)
  const url = await listen(app)
  t.equal(await (await fetch(`${url}/live`)).text(), 'theirs')
  t.equal(await (await fetch(`${url}/live/mine/1`)).text(), 'theirs')
  t.match(await (await fetch(`${url}/live/`)).text(), /dashboard\.js/)
  t.match(await (await fetch(`${url}/live/mine`)).json(), { code: 'NOT_FOUND' })
})

t.test('two gateways need two prefixes, of which one may lie below the other', async t => {
  const app = appOf(t)
  await app.register(signalbox, live)
  await t.rejects(async () => await app.register(signalbox, { ...live, name: 'second' }), { name: 'ConfigError', message: /another gateway of this app lies at \/live: give this one a prefix of its own/ })
  const overlapping = appOf(t)
  await overlapping.register(signalbox, live)
  await overlapping.register(signalbox, { ...live, name: 'second', prefix: '/live/api' })
  await t.rejects(async () => await overlapping.ready(), { name: 'ConfigError', message: /route \w+ \/live\/api\/\* would answer requests for the gateway at \/live/ })
  for (const prefixes of [['/live', '/live/orders'], ['/live/orders', '/live']]) {
    const both = appOf(t)
    for (const [index, prefix] of prefixes.entries()) await both.register(signalbox, { ...live, profile: 'WEBSOCKET', name: ['signalbox', 'second'][index], prefix })
    const url = await listen(both)
    for (const prefix of prefixes) {
      const box = connect(`${url}${prefix}`, { WebSocket: WebSocket as never })
      await new Promise<void>(resolve => box.on('ready', () => resolve()))
      box.close()
    }
  }
})
