// What a token allows: joins, publishing, commands and lists, over both profiles and both stores.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import { PatternGrants } from '../../src/core/grants.ts'
import { trusted } from '../../src/core/identity.ts'
import { WireClient } from '../wire/client.ts'
import type { Wish } from '../wire/client.ts'
import { folderFor } from '../tools/daemon.ts'
import { PROFILES, startServer } from '../wire/harness.ts'
import type { Server } from '../wire/harness.ts'
import { ALL, ask, bearer, guarded, knock, now, STORES, token } from './harness.ts'
import type { Grants } from './harness.ts'

const say = (room: string | null, type: string, data: unknown): object => ({ ...(room === null ? {} : { room }), type, data })
const publicly = (type: string, data: unknown): object => ({ type, data })

for (const { name: store, skip, start } of STORES) {
  for (const profile of PROFILES) {
    t.test(`${profile} on ${store}`, { skip }, async t => {
      const place = await start(t)
      const begin = async (options: Partial<Parameters<typeof guarded>[1]> = {}): Promise<Server> => await guarded(t, { profile, ...place, ...options })

      /** What a join is answered: a code, or the rooms. */
      const joins = async ({ port }: Server, grants: Grants | null, wish: Wish): Promise<string> => {
        const headers = grants === null ? {} : bearer(token(grants))
        if (profile === 'SSE') {
          const query = new URLSearchParams({ ...(wish.rooms === undefined ? {} : { rooms: wish.rooms.join() }), ...(wish.types === undefined ? {} : { types: wish.types.join() }) })
          const { status, body } = await knock(profile, port, `?${query}`, headers)
          return status === 200 ? 'joined' : `${body.code} ${body.message}`
        }
        const client = await WireClient.open(profile, port, { ...wish, headers })
        await client.until(() => client.messages.some(({ kind }) => kind === 'joined' || kind === 'error') || /^HTTP\/1.1 401/.test(client.head))
        const [answer] = client.messages.filter(({ kind }) => kind === 'joined' || kind === 'error')
        client.cut()
        if (answer === undefined) return 'UNAUTHENTICATED'
        const { code, message } = (answer as unknown as { data: Record<string, string> }).data
        return answer.kind === 'joined' ? 'joined' : `${code} ${message}`
      }

      /** What a command is answered: over the socket where there is one, else over HTTP. */
      const answers = async ({ port }: Server, command: string, wish: Pick<Wish, 'headers' | 'ticket'> = {}, args: object = {}): Promise<Record<string, any>> => {
        if (profile === 'SSE') return (await ask(port, '/api/control', { headers: { ...wish.headers }, body: { command, args } })).body
        const client = await WireClient.open(profile, port, { join: false, ...wish })
        const isAnswer = ({ kind }: { kind: string }): boolean => kind === 'result' || kind === 'error'
        client.say({ action: 'control', command, args })
        await client.until(() => client.messages.some(isAnswer))
        client.cut()
        return (client.messages.find(isAnswer) as { data: Record<string, any> }).data
      }

      t.test('a join needs subscribe on every room it names, and @public where it names none; it is all or nothing', async t => {
        const server = await begin()
        await server.publish(say('plant-1', 'x', 1))
        const grants = { subscribe: ['plant-*', 'news'], publish: ['*'], control: ['*'] }
        t.equal(await joins(server, grants, { rooms: ['plant-1'] }), 'joined')
        t.equal(await joins(server, grants, { rooms: ['plant-', 'news', 'plant-99'] }), 'joined', 'whether a room exists makes no difference')
        const refused = 'FORBIDDEN this token may not hear'
        t.match(await joins(server, grants, { rooms: ['plant-1', 'other'] }), `${refused} other`)
        t.match(await joins(server, grants, { rooms: ['newsroom'] }), `${refused} newsroom`)
        t.match(await joins(server, grants, {}), `${refused} @public`)
        t.match(await joins(server, grants, { rooms: ['@system'] }), `${refused} @system`)
        t.match(await joins(server, { subscribe: ['*'] }, { rooms: ['@system'] }), `${refused} @system`, 'which no pattern grants')
        t.equal(await joins(server, { subscribe: ['@system'] }, { rooms: ['@system'] }), 'joined')
        t.equal(await joins(server, { subscribe: ['*'] }, { rooms: ['@public', 'x'] }), 'joined', 'a lone star grants the public feed too')
        const [here, nowhere] = [await joins(server, { subscribe: [] }, { rooms: ['plant-1'] }), await joins(server, { subscribe: [] }, { rooms: ['nowhere'] })]
        t.equal(here.replace('plant-1', 'nowhere'), nowhere, 'nothing tells whether a room exists')
        if (profile === 'WEBSOCKET') {
          const client = await WireClient.open(profile, server.port, { rooms: ['plant-1'], headers: bearer(token(grants)) })
          await client.untilKind('ready')
          client.say({ action: 'join', rooms: ['plant-2', 'secret'] })
          await client.untilKind('error')
          client.say({ action: 'leave', rooms: ['plant-1', 'plant-2'] })
          t.match(await client.untilKind('left'), { data: { rooms: ['plant-1'] } }, 'of a refused join nothing was joined')
          client.say({ action: 'join', rooms: ['plant-2'] })
          await client.untilKind('joined', 2)
          t.pass('a later join is judged by the same token')
          client.cut()
        }
      })

      t.test('public events named by their types are heard only where @public is granted', async t => {
        const server = await begin()
        const open = async (subscribe: string[]): Promise<WireClient> => {
          const client = await WireClient.open(profile, server.port, { rooms: ['plant'], types: ['alarm'], headers: bearer(token({ subscribe })) })
          await client.untilKind('ready')
          return client
        }
        const [without, granted] = [await open(['plant', '@system']), await open(['plant', '@public'])]
        await server.publish(publicly('alarm', 'public'), say('plant', 'alarm', 'own'))
        for (const client of [without, granted]) await client.until(() => client.events.some(({ data }) => data === 'own'))
        t.strictSame(granted.events.map(({ data }) => data), ['public', 'own'])
        t.strictSame(without.events.map(({ data }) => data), ['own'])
        const { cursor } = granted
        granted.cut()
        await server.publish({ type: 'alarm', key: 'k', data: 'value' }, publicly('alarm', 'meanwhile'), say('plant', 'alarm', 'after'))
        const back = await WireClient.open(profile, server.port, { rooms: ['plant'], types: ['alarm'], cursor, headers: bearer(token({ subscribe: ['plant'] })) })
        await back.until(() => back.events.some(({ data }) => data === 'after'))
        t.notMatch(back.events.map(({ data }) => data), ['public'], 'a right that is gone brings nothing, whatever the cursor covers')
        t.notOk(back.events.some(({ room }) => room === undefined))
        back.cut()
        without.cut()
      })

      t.test('rights that shrink between publish and resume: what they do not cover is not replayed', async t => {
        const server = await begin()
        const client = await WireClient.open(profile, server.port, { rooms: ['a', 'b'], headers: bearer(token({ subscribe: ['a', 'b'] })) })
        await client.untilKind('ready')
        await server.publish(say('a', 'n', 1))
        await client.until(() => client.events.length === 1)
        const { cursor } = client
        client.cut()
        await server.publish(say('b', 'n', 'secret'), say('a', 'n', 2))
        const less = bearer(token({ subscribe: ['a'] }))
        if (profile === 'SSE') {
          const refused = await knock(profile, server.port, '?rooms=a,b', { ...less, 'Last-Event-ID': cursor ?? '' })
          t.strictSame([refused.status, refused.body.code], [403, 'FORBIDDEN'], 'a refusal that does not pass is told by its status, to returning clients too')
        }
        const back = await WireClient.open(profile, server.port, { rooms: ['a'], cursor, headers: less })
        await back.until(() => back.events.some(({ data }) => data === 2))
        t.strictSame(back.events.map(({ room }) => room), ['a'])
        back.cut()
      })

      t.test('publishing needs publish on the room of each event, or on @public', async t => {
        const server = await begin()
        const post = async (grants: Grants, body: unknown): Promise<string> => {
          const { status, body: answer } = await ask(server.port, '/api/events', { headers: bearer(token(grants)), body })
          return status === 202 ? `${answer.ids.length}` : `${status} ${answer.code} ${answer.message}`
        }
        const { head } = server.gateway.view.history
        t.equal(await post({ publish: ['a'] }, say('a', 'n', 1)), '1')
        t.match(await post({ publish: ['a'] }, [say('a', 'n', 1), say('b', 'n', 1)]), /^403 FORBIDDEN this token may not publish to b: .*signalbox.publish/, 'all or nothing')
        t.match(await post({ publish: ['a'] }, publicly('n', 1)), /^403 FORBIDDEN .*@public/)
        t.equal(await post({ publish: ['@public'] }, publicly('n', 1)), '1')
        t.equal(await post({ publish: ['*'] }, [publicly('n', 1), say('x', 'n', 1)]), '2')
        t.match(await post({ subscribe: ['*'], control: ['*'] }, say('a', 'n', 1)), /^403 /, 'to hear a room is not to publish to it')
        t.match(await post({ publish: ['@system', '*'] }, say('@system', 'n', 1)), /^400 BAD_EVENT/, 'to the gateway\'s own rooms nobody publishes')
        t.not(server.gateway.view.history.head, head)
        const anonymous = await ask(server.port, '/api/events', { body: say('a', 'n', 1) })
        t.strictSame([anonymous.status, anonymous.headers['www-authenticate']], [401, 'Bearer'])
      })

      t.test('a command needs control on its name; publish needs the right to publish beside it', async t => {
        const server = await begin()
        const run = async (grants: Grants, command: string, args: object = {}): Promise<string> => {
          const { ok, code, message } = await answers(server, command, { headers: bearer(token(grants)) }, args)
          return ok === true ? 'ok' : `${code} ${message}`
        }
        const event = say('a', 'n', 1)
        t.equal(await run({ control: ['ping'] }, 'ping'), 'ok')
        t.match(await run({ control: ['ping'] }, 'stats'), /^FORBIDDEN this token may not run stats: .*signalbox.control/)
        t.match(await run({ control: ['ping'] }, 'nothing-of-that-name'), /^FORBIDDEN/, 'nothing tells which commands there are')
        t.match(await run({ control: ['*'] }, 'nothing-of-that-name'), /^UNKNOWN_COMMAND/)
        t.match(await run({ control: ['publish'] }, 'publish', { event }), /^FORBIDDEN this token may not publish to a/)
        t.match(await run({ publish: ['a'] }, 'publish', { event }), /^FORBIDDEN this token may not run publish/)
        t.equal(await run({ control: ['publish'], publish: ['a'] }, 'publish', { event }), 'ok')
        t.match(await run({ control: ['publish'], publish: ['a'] }, 'publish', { events: [event, publicly('n', 1)] }), /^FORBIDDEN .*@public/)
        t.equal(await run({ control: ['rooms'] }, 'rooms'), 'ok', 'an operator lists every room without the right to hear them')
      })

      t.test('whoami tells the caller its subject, the end of its rights and its grants, if it may ask', async t => {
        const server = await begin({ anonymousSubscribe: ['news'] })
        const exp = now() + 500
        const mine = token({ subscribe: ['plant-*', '@public'], control: ['who*'] }, { exp })
        const me = { subject: 'ada', expiresAt: exp * 1000, grants: { subscribe: ['plant-*', '@public'], publish: [], control: ['who*'] } }
        t.strictSame((await answers(server, 'whoami', { headers: bearer(mine) })).result, me)
        const overHttp = async (text: string): Promise<any> => (await ask(server.port, '/api/control', { headers: { ...bearer(text), 'Idempotency-Key': 'k' }, body: { command: 'whoami' } })).body
        const { id, result } = await overHttp(mine)
        t.strictSame(result, me, 'over HTTP in both profiles')
        t.strictSame((await overHttp(token({ control: ['*'] }, { exp: exp + 1 }))).result, { subject: 'ada', expiresAt: (exp + 1) * 1000, grants: { subscribe: [], publish: [], control: ['*'] } }, 'under the same Idempotency-Key a new token is told of itself')
        t.match((await ask(server.port, `/api/control/${id}`, { headers: bearer(mine) })).body, { status: 'done', resultOmitted: true }, 'and it is not kept')
        t.strictSame((await answers(server, 'whoami', { headers: bearer(token({ control: ['whoami'] }, { sub: undefined })) })).result.subject, null, 'a token that names nobody')
        if (profile === 'WEBSOCKET') {
          const { ticket } = (await ask(server.port, '/api/ticket', { method: 'POST', headers: bearer(mine) })).body
          t.strictSame((await answers(server, 'whoami', { ticket })).result, me, 'a ticket has its token\'s')
        }
        t.match(await answers(server, 'whoami', { headers: bearer(mine) }, { of: 'eve' }), { code: 'BAD_COMMAND' })
        t.match(await answers(server, 'whoami', { headers: bearer(token(ALL)) }), { ok: true })
        t.match(await answers(server, 'whoami', { headers: bearer(token({ ...ALL, control: ['ping'] })) }), { code: 'FORBIDDEN' })
        t.match(await answers(server, 'whoami'), { code: 'UNAUTHENTICATED' }, 'without a token nobody may run it')
        const outcome = await server.gateway.control({ command: 'whoami', identity: { ...trusted('partly'), grants: new PatternGrants({ control: ['whoami'] }) } })
        t.match(outcome, { result: { grants: { subscribe: [], publish: [], control: ['whoami'] } } }, 'each right has its list')

        const open = await startServer({ profile, ...place })
        t.teardown(async () => await open.close())
        for (const headers of [{}, bearer(mine)]) t.strictSame((await answers(open, 'whoami', { headers })).result, { subject: null, expiresAt: null, grants: null }, 'an open gateway knows nobody, and allows everything')
      })

      t.test('lists show what the caller may hear and run; the outcome of another subject\'s command is not known', async t => {
        const server = await begin({
          commands: { asker: { handler: (_args, { identity, caller }) => ({ subject: identity.subject, issuer: identity.issuer, caller }) } }
        })
        await server.publish(say('plant-1', 'n', 1), say('plant-2', 'n', 1), say('secret', 'n', 1))
        const of = (grants: Grants, claims: object = {}): { headers: { Authorization: string } } => ({ headers: bearer(token(grants, claims)) })
        const rooms = async (subscribe: string[]): Promise<string[]> => (await ask(server.port, '/api/rooms', of({ subscribe }))).body.rooms.map(({ room }: { room: string }) => room)
        t.strictSame(await rooms(['plant-*']), ['plant-1', 'plant-2'])
        t.strictSame(await rooms([]), [])
        t.strictSame((await ask(server.port, '/api/rooms?prefix=sec', of({ subscribe: ['plant-*'] }))).body, { rooms: [], more: false })
        const listed = (await ask(server.port, '/api/control', of({ control: ['ping', 'ask*'] }))).body.commands.map(({ name }: { name: string }) => name)
        t.strictSame(listed, ['asker', 'ping'])
        const mine = of({ control: ['*'] }, { iss: 'https://login.example' })
        const ran = await ask(server.port, '/api/control', { headers: { ...mine.headers, 'Idempotency-Key': 'k' }, body: { command: 'asker' } })
        t.match(ran.body.result, { subject: 'ada', issuer: 'https://login.example' }, 'the handler knows who asks')
        const path = `/api/control/${ran.body.id}`
        t.match((await ask(server.port, path, mine)).body, { command: 'asker', status: 'done' })
        for (const [claims, who] of [[{ sub: 'eve' }, 'another subject'], [{}, 'the same subject of another issuer'], [{ iss: 'https://login.example', sub: 'eve' }, 'another subject of the issuer'], [{ sub: undefined }, 'nobody']] as const) {
          const answer = await ask(server.port, path, of({ control: ['*'] }, claims))
          t.strictSame(answer.body, (await ask(server.port, '/api/control/of-no-command', mine)).body, who)
          const again = await ask(server.port, '/api/control', { headers: { ...of({ control: ['*'] }, claims).headers, 'Idempotency-Key': 'k' }, body: { command: 'asker' } })
          t.not(again.body.id, ran.body.id, `${who}: the same Idempotency-Key is another one`)
        }
        const repeat = await ask(server.port, '/api/control', { headers: { ...of({ control: ['asker'] }, { iss: 'https://login.example' }).headers, 'Idempotency-Key': 'k' }, body: { command: 'asker' } })
        t.equal(repeat.body.id, ran.body.id, 'a new token of the same subject goes on')
        const refused = await ask(server.port, '/api/control', { headers: { ...of({ control: [] }, { iss: 'https://login.example' }).headers, 'Idempotency-Key': 'k' }, body: { command: 'asker' } })
        t.equal(refused.status, 403, 'but not without the right')
      })

      t.test('without a token one hears what ANONYMOUS_SUBSCRIBE names, and nothing else', async t => {
        const server = await begin({ anonymousSubscribe: ['news-*', '@public'] })
        await server.publish(say('news-1', 'n', 1), say('plant', 'n', 1))
        t.equal(await joins(server, null, { rooms: ['news-1'] }), 'joined')
        t.equal(await joins(server, null, {}), 'joined')
        t.match(await joins(server, null, { rooms: ['plant'] }), /^UNAUTHENTICATED a token is needed to hear plant/)
        t.match(await joins(server, { subscribe: ['plant'] }, { rooms: ['news-1'] }), /^FORBIDDEN/, 'a token has its own rights, no more')
        t.equal((await knock(profile, server.port, '?rooms=news-1', bearer('hunter2'))).status, 401, 'a bad token is refused where none is needed')
        t.equal((await knock(profile, server.port, '?rooms=news-1', { Cookie: 'signalbox_token=hunter2' })).status, 401)
        t.strictSame((await ask(server.port, '/api/rooms')).body.rooms.map(({ room }: { room: string }) => room), ['news-1'])
        t.strictSame((await ask(server.port, '/api/control')).body, { commands: [] })
        for (const [path, body] of [['/api/events', say('news-1', 'n', 1)], ['/api/control', { command: 'ping' }]] as const) {
          const { status, headers, body: { code } } = await ask(server.port, path, { body })
          t.strictSame([status, code, headers['www-authenticate']], [401, 'UNAUTHENTICATED', 'Bearer'], path)
        }
        t.equal((await ask(server.port, '/api/ticket', { method: 'POST' })).status, 401)
        t.equal((await ask(server.port, '/metrics')).status, 401)
      })
    })
  }
}

t.test('which routes are open', async t => {
  const server = await guarded(t, { profile: 'SSE' })
  for (const path of ['/healthz', '/readyz', '/', '/client.js', '/docs/', '/api/profile']) {
    t.equal((await ask(server.port, path)).status, 200, path)
    t.equal((await ask(server.port, path, { headers: bearer('hunter2') })).status, 200, `${path}, where no token is looked at`)
  }
  for (const path of ['/api/rooms', '/api/control', '/api/control/x', '/metrics', '/api/events/stream']) t.equal((await ask(server.port, path)).status, 401, path)
  for (const path of ['/api/events', '/api/control', '/api/ticket']) t.equal((await ask(server.port, path, { method: 'POST' })).status, 401, path)
  t.equal((await ask(server.port, '/api/rooms', { method: 'HEAD' })).status, 401)
  t.equal((await ask(server.port, '/nothing/here')).status, 404)
  t.equal((await ask(server.port, '/api/rooms', { method: 'DELETE' })).status, 405)
  t.equal((await ask(server.port, '/api/rooms', { method: 'OPTIONS' })).status, 204)
  for (const path of ['//api/rooms', '/api/rooms/', '/API/rooms', '/api/%72ooms', '/api/./rooms', '/api/rooms?x', '/api/rooms;x']) t.ok([401, 404].includes((await ask(server.port, path)).status), `${path} leads past nothing`)
  t.match((await ask(server.port, '/api/profile')).body, { auth: true })
})

t.test('/metrics needs METRICS_TOKEN where that is set, also while everything else is open, or control on metrics', async t => {
  const metricsToken = 'scrape-9f3b1c7a5d2e8046'
  const status = async ({ port }: Server, headers: object = {}): Promise<number> => (await ask(port, '/metrics', { headers: headers as never })).status
  const open = await startServer({ profile: 'SSE', metricsToken })
  t.teardown(async () => await open.close())
  t.strictSame([await status(open), await status(open, bearer(metricsToken)), await status(open, bearer(`${metricsToken}x`)), await status(open, { Authorization: `Basic ${metricsToken}` })], [401, 200, 401, 401])
  t.equal((await ask(open.port, '/api/rooms')).status, 200)
  const both = await guarded(t, { profile: 'SSE', metricsToken })
  t.strictSame([await status(both), await status(both, bearer(metricsToken)), await status(both, bearer(token({ control: ['metrics'] }))), await status(both, bearer(token({ control: ['ping'] })))], [401, 200, 200, 403])
  t.equal((await ask(both.port, '/api/rooms', { headers: bearer(metricsToken) })).status, 401, 'it is good for nothing else')
  const tokens = await guarded(t, { profile: 'SSE' })
  t.strictSame([await status(tokens), await status(tokens, bearer(token({ control: ['*'] })))], [401, 200])
  const free = await startServer({ profile: 'SSE' })
  t.teardown(async () => await free.close())
  t.equal(await status(free), 200)
})

t.test('a backend is told the subject, and its command belongs to the caller, before and after it is settled', { skip: STORES[1]?.skip ?? false }, async t => {
  const { redis = '' } = await (STORES[1] as typeof STORES[number]).start(t)
  const server = await guarded(t, { profile: 'SSE', redis, dataDir: 'w', commandTimeout: 1 })
  const client = new Redis(redis)
  t.teardown(() => client.disconnect())
  await client.hset('w:handlers', 'move', '{"retry":false,"timeout":1}')
  const ada = { headers: bearer(token(ALL)) }
  const eve = { headers: bearer(token(ALL, { sub: 'eve' })) }
  const send = async (): Promise<string> => (await ask(server.port, '/api/control', { ...ada, body: { command: 'move', args: {} } })).body.id
  const seen = async (id: string): Promise<Array<string | number>> => (await Promise.all([ada, eve].map(async who => await ask(server.port, `/api/control/${id}`, who)))).map(({ status, body }) => body.status ?? status)
  await client.xgroup('CREATE', 'w:commands:move', 'handlers', '0', 'MKSTREAM').catch(() => {})
  const sent = send()
  const [[, [[entry, fields]]]] = await client.xreadgroup('GROUP', 'handlers', 'me', 'COUNT', 1, 'BLOCK', 10_000, 'STREAMS', 'w:commands:move', '>') as any
  const job = Object.fromEntries(fields.map((name: string, at: number) => at % 2 === 0 ? [name, fields[at + 1]] : []).filter((pair: string[]) => pair.length > 0))
  t.match(job, { subject: 'ada', args: '{}', attempt: '1' })
  t.strictSame(await seen(job.id), ['running', 404])
  await client.xadd('w:results', '*', 'id', job.id, 'entry', entry, 'result', '{"moved":true}')
  await sent
  t.strictSame(await seen(job.id), ['done', 404], 'answered')
  const id = await send()
  while ((await seen(id))[0] === 'running') await new Promise(resolve => setTimeout(resolve, 200))
  t.strictSame(await seen(id), ['failed', 404], 'withdrawn, because no backend took it')
})

t.test('a module of commands is told who asks, and may publish with the rights of the caller', async t => {
  const path = join(folderFor(t), 'commands.mjs')
  writeFileSync(path, `export default {
    own: { handler: async (_args, { publish }) => await publish([{ type: 'n', room: 'secret', data: 1 }]) },
    theirs: { handler: async (_args, { publish, identity }) => await publish([{ type: 'n', room: 'secret', data: 1 }], identity) },
    may: { handler: (_args, { identity }) => ({ subject: identity.subject, secret: identity.grants.allow('publish', 'secret') }) }
  }`)
  const server = await guarded(t, { profile: 'SSE', commandsModule: path })
  const run = async (command: string): Promise<any> => (await ask(server.port, '/api/control', { headers: bearer(token({ control: ['*'] })), body: { command } })).body
  t.match(await run('own'), { ok: true })
  t.match(await run('theirs'), { code: 'COMMAND_FAILED', message: /may not publish to secret/ })
  t.match(await run('may'), { result: { subject: 'ada', secret: false } })
})

t.test('limits and keys count by issuer and subject, from whatever address and with whatever token', async t => {
  const server = await guarded(t, { profile: 'SSE', limits: { publishRateLimit: 2 } })
  const post = async (claims: object): Promise<number> => (await ask(server.port, '/api/events', { headers: bearer(token(ALL, claims)), body: publicly('n', 1) })).status
  const flood = async (claims: object): Promise<number[]> => await Promise.all(Array.from({ length: 12 }, async (_, n) => await post({ ...claims, jti: String(n) })))
  const [ada, eve] = await Promise.all([flood({}), flood({ sub: 'eve', exp: now() + 60 })])
  for (const statuses of [ada, eve]) t.ok(statuses.includes(202) && statuses.includes(429), statuses.join())
})
