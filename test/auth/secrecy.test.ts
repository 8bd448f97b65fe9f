// The product as processes: nothing that lets somebody in stands in a log, an answer, a metric or what the page shows.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { freePort, Stage } from '../process/harness.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from '../wire/client.ts'
import { PROFILES } from '../wire/harness.ts'
import { ALL, ask, bearer, knock, OPEN, SECRET, token } from './harness.ts'

t.setTimeout(600_000)
t.jobs = 2

const METRICS = 'scrape-9f3b1c7a5d2e8046'

for (const profile of PROFILES) {
  t.test(`${profile}: two workers that log everything log no secret, and show none`, { skip: skipWithout('redis') }, async t => {
    const stage = new Stage(t)
    const redis = await RedisServer.start(t, { password: 'redis-password' })
    const file = join(stage.folder(), 'secret')
    writeFileSync(file, `${SECRET}\n`)
    const gateway = await stage.launch({ APP_PROFILE: profile, PORT: await freePort(), REDIS_URL: redis.url, WORKERS: 2, LOG_LEVEL: 'trace', AUTH_JWT_SECRET_FILE: file, METRICS_TOKEN: METRICS, CONTROL_RATE_LIMIT: 0, CORS_ORIGINS: 'https://app.example.com' })
    const { port } = gateway
    const good = token(ALL)
    const bad = [token(ALL, { exp: 1 }), token(ALL, {}, 'another secret that is long enough'), 'no-token-at-all']
    const tickets: string[] = []
    const shown: string[] = []
    const note = ({ headers, body }: { headers: object, body: unknown }): void => { shown.push(JSON.stringify([headers, body])) }

    for (let n = 0; n < 4; n++) {
      const answer = await ask(port, '/api/ticket', { method: 'POST', headers: bearer(good) })
      tickets.push(answer.body.ticket)
    }
    const doors = await Promise.all(Array.from({ length: 10 }, async () => await knock(profile, port, `?ticket=${tickets[0]}`)))
    t.strictSame(doors.map(({ status }) => status).sort(), [OPEN[profile], ...Array(9).fill(401)].sort(), 'of many, over two workers, a ticket lets one in')
    const cookie = /signalbox_ticket=([^;]+)/.exec(doors.map(({ headers }) => String(headers['set-cookie'] ?? '')).join())?.[1]
    for (const path of ['/api/rooms', '/api/events', '/api/nothing', '/', '/metrics', '/api/events/stream', '/api/events/ws', '/api/control/x']) {
      for (const text of bad) note(await ask(port, `${path}?ticket=${tickets[1]}&access_token=${text}&rooms=a,,b&limit=x`, { headers: { ...bearer(text), Cookie: `signalbox_token=${text}` } }))
      note(await ask(port, `${path}?token=${good}&ticket=${tickets[2]}x`, { method: 'DELETE', headers: { Cookie: `signalbox_token=${good}`, Origin: 'https://evil.example' } }))
      await new Promise(resolve => setTimeout(resolve, 200))
    }
    note(await ask(port, '/api/events', { headers: bearer(good), body: { type: 'n', room: 'a', data: 1, more: 1 } }))
    note(await ask(port, '/api/events', { headers: { Authorization: [`Bearer ${good}`, `Bearer ${bad[0]}`] as never }, body: {} }))
    for (const command of ['stats', 'rooms', 'tune']) note(await ask(port, '/api/control', { headers: bearer(good), body: { command, args: command === 'tune' ? { AUTH_JWT_SECRET: 'hunter2hunter2', LOG_LEVEL: 'debug' } : {} } }))
    const metrics = await ask(port, '/metrics', { headers: bearer(METRICS) })
    t.equal(metrics.status, 200)
    note(metrics)
    for (const path of ['/api/profile', '/readyz', '/docs/json']) note(await ask(port, path))
    const watching = await WireClient.open(profile, port, { rooms: ['@system'], headers: bearer(good) })
    await watching.until(() => ['settings', 'totals', 'sessions', 'errors'].some(type => watching.events.some(event => event.type.includes(type))) && watching.events.length > 20)
    shown.push(JSON.stringify(watching.messages))
    watching.cut()
    await gateway.stop()
    shown.push(JSON.stringify(gateway.log()), JSON.stringify(await gateway.ended))

    const secrets = { SECRET, METRICS, good, redis: 'redis-password', hunter: 'hunter2hunter2', ...(cookie === undefined ? {} : { cookie }), ...Object.fromEntries([...bad.slice(0, 2), ...tickets].map((text, n) => [`text ${n}`, text])) }
    for (const [name, text] of Object.entries(secrets)) {
      // The signature: what comes before it is alike in many.
      const part = text.split('.').at(-1) as string
      const at = shown.find(text => text.includes(part))
      t.equal(at === undefined ? 'nowhere' : at.slice(Math.max(0, at.indexOf(part) - 200), at.indexOf(part) + 20), 'nowhere', name)
    }
    t.ok(gateway.log().some(({ level }) => level <= 20), 'it did log what is only logged to find faults')
  })
}

t.test('settings of authentication that cannot be used end the process with 78, all named, none shown', async t => {
  const stage = new Stage(t)
  const { code, stderr, stdout } = await stage.run({ AUTH_JWT_SECRET: 'hunter2', AUTH_JWKS_URL: 'http://hunter2.example/jwks', METRICS_TOKEN: 'hunter2', HOST: '0.0.0.0', ALLOW_ANONYMOUS: 'true' })
  t.equal(code, 78)
  for (const name of ['AUTH_JWT_SECRET', 'AUTH_JWKS_URL', 'METRICS_TOKEN']) t.match(stderr, new RegExp(`${name} is `))
  t.match(stderr, 'openssl rand -base64 32')
  t.notMatch((stderr + stdout).replace('http://hunter2.example/jwks', ''), 'hunter2')
  const checked = await stage.run({ AUTH_JWT_SECRET: SECRET, METRICS_TOKEN: METRICS, HOST: '0.0.0.0' }, ['--check'])
  t.equal(checked.code, 0)
  t.match(checked.stdout, /AUTH_JWT_SECRET +\*\*\* +environment/)
  t.notMatch(checked.stdout + checked.stderr, SECRET)
  t.notMatch(checked.stdout + checked.stderr, METRICS)
})
