// Public keys from a URL: who may sign, how often the URL is asked, and what holds while it does not answer.

import { createServer } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { CryptoKey, JWK } from 'jose'
import { PublicKeys } from '../../src/app/auth/keys.ts'
import { freePort } from '../process/harness.ts'
import { WireClient } from '../wire/client.ts'
import { PROFILES } from '../wire/harness.ts'
import { ALL, ask, bearer, guarded, knock, now, OPEN, SECRET, token } from './harness.ts'

t.jobs = 3

const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'] as const
const silent = { warn () {}, info () {} }

interface Key {
  readonly alg: string
  readonly privateKey: CryptoKey
  readonly jwk: JWK
}

async function newKey (alg: string, kid?: string, more: JWK = {}): Promise<Key> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  return { alg, privateKey, jwk: { ...await exportJWK(publicKey), ...(kid === undefined ? {} : { kid }), ...more } }
}

const sign = async ({ alg, privateKey, jwk: { kid } }: Key, more: object = {}): Promise<string> =>
  await new SignJWT({ sub: 'ada', exp: now() + 600, signalbox: ALL, ...more }).setProtectedHeader({ alg, ...(kid === undefined ? {} : { kid }) }).sign(privateKey)

/** A server of keys. */
class Issuer {
  keys: JWK[] = []
  /** 200: it answers with the keys. */
  status = 200
  body: string | null = null
  requests = 0
  hangs = false
  port = 0
  readonly #server = createServer((_request, response) => {
    this.requests++
    if (this.hangs) return
    response.writeHead(this.status, { 'Content-Type': 'application/json', ...(this.status === 302 ? { Location: '/other' } : {}) }).end(this.body ?? JSON.stringify({ keys: this.keys }))
  })

  static async start (t: Test, ...keys: Key[]): Promise<Issuer> {
    const issuer = new Issuer()
    issuer.keys = keys.map(({ jwk }) => jwk)
    // One that no other gets while this issuer is down.
    issuer.port = await freePort()
    await issuer.listen()
    t.teardown(() => issuer.stop())
    return issuer
  }

  async listen (): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(this.port, '127.0.0.1', resolve))
  }

  stop (): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  get url (): string {
    return `http://127.0.0.1:${this.port}/jwks`
  }
}

for (const profile of PROFILES) {
  t.test(`${profile}: keys of four kinds verify, each with the algorithms of its own kind, beside a secret`, async t => {
    const keys = await Promise.all(ALGORITHMS.map(async alg => await newKey(alg, `key-${alg}`)))
    const issuer = await Issuer.start(t, ...keys)
    const { port } = await guarded(t, { profile, authJwksUrl: issuer.url })
    for (const key of keys) t.equal((await knock(profile, port, '', bearer(await sign(key)))).status, OPEN[profile], key.alg)
    t.equal((await knock(profile, port, '', bearer(token(ALL)))).status, OPEN[profile], 'the secret')
    const [rsa, , ec] = keys as [Key, Key, Key, Key]
    for (const alg of ['RS512', 'PS384', 'ES384']) {
      const other = await newKey(alg)
      t.equal((await knock(profile, port, '', bearer(await sign({ ...other, jwk: { kid: rsa.jwk.kid as string } as never })))).status, 401, `${alg} is not one of them`)
    }
    t.equal((await knock(profile, port, '', bearer(await sign({ ...await newKey('RS256'), jwk: { kid: rsa.jwk.kid as string } as never })))).status, 401, 'a key of somebody else under its name')
    t.equal((await knock(profile, port, '', bearer(await sign({ ...rsa, jwk: { kid: ec.jwk.kid as string } as never })))).status, 401, 'the name of a key of another kind')
    t.equal(issuer.requests, 1)
  })

  t.test(`${profile}: unreachable at start, the gateway starts with a warning, refuses what needs the keys in a way that passes, and finds them later`, async t => {
    const key = await newKey('ES256', 'a')
    const issuer = await Issuer.start(t, key)
    issuer.stop()
    const { port } = await guarded(t, { profile, authJwksUrl: issuer.url })
    const headers = bearer(await sign(key))
    const first = await knock(profile, port, '', headers)
    t.strictSame([first.status, first.body.code, first.headers['retry-after']], [503, 'KEYS_UNAVAILABLE', '5'])
    const ready = await ask(port, '/readyz')
    t.equal(ready.status, 200)
    t.match(ready.body.warnings.at(-1), /^the keys of AUTH_JWKS_URL cannot be fetched: .*ECONNREFUSED/)
    t.equal((await ask(port, '/api/events', { headers, body: { type: 'a', data: 1 } })).body.code, 'KEYS_UNAVAILABLE')
    t.equal((await knock(profile, port, '', bearer(token(ALL)))).status, OPEN[profile], 'the secret needs no keys')
    if (profile === 'SSE') {
      const returning = await knock(profile, port, '', { ...headers, 'Last-Event-ID': '1-0' })
      t.strictSame([returning.status, returning.headers['content-type']], [200, 'text/event-stream; charset=utf-8'])
      t.match(returning.body, /^retry: \d+\nevent: bye\ndata: \{"reason":"KEYS_UNAVAILABLE","retryMs":\d+\}\n\n/)
    }
    await issuer.listen()
    let status = 503
    while (status === 503) {
      status = (await knock(profile, port, '', headers)).status
      await new Promise(resolve => setTimeout(resolve, 200))
    }
    t.equal(status, OPEN[profile], 'five seconds later it asks again')
    t.notMatch((await ask(port, '/readyz')).body.warnings, [/AUTH_JWKS_URL/])
  })
}

t.test('keys are changed while clients stay connected: the new one is there as soon as a token names it, the old one goes with the next fetch', async t => {
  const [old, fresh] = [await newKey('ES256', 'old'), await newKey('EdDSA', 'new')]
  const issuer = await Issuer.start(t, old)
  let time = 0
  const keys = new PublicKeys({ url: issuer.url, log: silent, now: () => time })
  const finds = async ({ alg, jwk: { kid } }: Key): Promise<number> => (await keys.find({ alg, ...(kid === undefined ? {} : { kid }) })).length
  await keys.load()
  t.strictSame([await finds(old), issuer.requests], [1, 1])
  issuer.keys = [old.jwk, fresh.jwk]
  time = 29_999
  for (let n = 0; n < 100; n++) t.equal(await finds(fresh), 0)
  t.equal(issuer.requests, 1, 'an unknown key is not looked for within 30 s of a fetch')
  time = 30_000
  t.strictSame([...await Promise.all(Array.from({ length: 50 }, async () => await finds(fresh))), issuer.requests], [...Array(50).fill(1), 2], 'then once, for all who wait')
  t.strictSame([await finds(old), await finds(fresh), issuer.requests], [1, 1, 2])
  for (time = 30_001; time < 60_000; time += 997) t.equal(await finds({ ...old, jwk: { kid: `${time}` } as JWK }), 0)
  t.equal(issuer.requests, 2)
  time = 60_000
  await finds({ ...old, jwk: { kid: 'guessed' } as JWK })
  t.equal(issuer.requests, 3)
  issuer.keys = [fresh.jwk]
  time = 659_999
  t.strictSame([await finds(old), issuer.requests], [1, 3])
  time = 660_000
  t.strictSame([await finds(old), await finds(fresh), issuer.requests], [0, 1, 4], 'ten minutes after a fetch there is another in any case: what was withdrawn counts no more')
})

t.test('a fetch that fails is repeated every 5 s at most, while tokens ask for it; keys fetched before go on, and wait for nothing', async t => {
  const key = await newKey('RS256', 'a')
  const issuer = await Issuer.start(t, key)
  let time = 0
  const logged: string[] = []
  const log = { warn: (_what: unknown, text: string) => { logged.push(text) }, info: (text: string) => { logged.push(text) } } as unknown as typeof silent
  const keys = new PublicKeys({ url: issuer.url, log, now: () => time })
  const known = { alg: 'RS256', kid: 'a' }
  issuer.status = 500
  await keys.load()
  for (time = 0; time < 5000; time += 100) await t.rejects(keys.find(known), { code: 'KEYS_UNAVAILABLE', retryMs: 5000 })
  t.equal(issuer.requests, 1)
  for (time = 5000; time < 20_000; time += 100) await t.rejects(keys.find(known), { code: 'KEYS_UNAVAILABLE' })
  t.equal(issuer.requests, 4)
  t.match(keys.warning, /it answers 500$/)
  issuer.status = 200
  time = 20_000
  t.equal((await keys.find(known)).length, 1)
  t.equal(keys.warning, null)
  const before = issuer.requests
  issuer.hangs = true
  time = 620_000
  const first = keys.find(known)
  t.equal((await keys.find(known).then(found => found.length)), 1, 'the first waits for the URL, until that is in trouble')
  await first
  t.match(keys.warning, /^the keys of AUTH_JWKS_URL cannot be fetched: .*; those fetched before still count$/)
  time = 625_000
  // Nobody whose key is known waits for the second attempt.
  const second = await Promise.race([keys.find(known), new Promise<null>(resolve => setTimeout(resolve, 4000, null).unref())])
  t.equal(second?.length, 1)
  while (issuer.requests < before + 2) await new Promise(resolve => setTimeout(resolve, 10))
  issuer.hangs = false
  issuer.stop()
  await new Promise(resolve => setTimeout(resolve, 100))
  time = 630_000
  await t.rejects(keys.find({ alg: 'RS256', kid: 'unknown' }), { code: 'KEYS_UNAVAILABLE' }, 'whether an unknown key is good cannot be told just now')
  t.equal((await keys.find(known)).length, 1)
  t.equal(logged.filter(text => /cannot be fetched/.test(text)).length, 2, 'each time of trouble is logged once')
})

t.test('answers that are no keys are trouble, said in words', async t => {
  const issuer = await Issuer.start(t)
  const says = async (change: Partial<Issuer>): Promise<string | null> => {
    Object.assign(issuer, { status: 200, body: null }, change)
    const keys = new PublicKeys({ url: issuer.url, log: silent })
    await keys.load()
    return keys.warning
  }
  for (const body of ['', 'null', '[]', '{}', '{"keys":{}}', '<html>', '{"keys":[7]}']) t.match(await says({ body }), /its answer is no set of keys/, body)
  t.match(await says({ status: 302 }), /it answers 302/, 'it is not led elsewhere')
  t.match(await says({ body: ' '.repeat(2 ** 20 + 1) }), /more than 1048576 characters/)
  t.equal(await says({}), null, 'none is a set too')
})

t.test('a token that does not name its key may be of any that fits; secrets and keys for encryption in the set verify nothing', async t => {
  const [one, two, encrypting] = [await newKey('RS256'), await newKey('RS256'), await newKey('RS256', 'enc', { use: 'enc' })]
  const issuer = await Issuer.start(t, one, two, encrypting)
  issuer.keys.push({ kty: 'oct', kid: 'secret', k: Buffer.from(SECRET).toString('base64url') })
  const { port } = await guarded(t, { profile: 'SSE', authJwtSecret: '', authJwksUrl: issuer.url })
  const status = async (text: string): Promise<number> => (await ask(port, '/api/rooms', { headers: bearer(text) })).status
  t.strictSame([await status(await sign(one)), await status(await sign(two))], [200, 200])
  t.strictSame([await status(await sign(encrypting)), await status(await sign(await newKey('RS256')))], [401, 401])
  t.equal(await status(token(ALL)), 401, 'nothing is HS256 without AUTH_JWT_SECRET')
  t.equal(issuer.requests, 1)
})

for (const profile of PROFILES) {
  t.test(`${profile}: a client whose key is withdrawn stays until its token ends, and comes back with one of the new key`, async t => {
    const [old, fresh] = [await newKey('ES256', 'old'), await newKey('ES256', 'new')]
    const issuer = await Issuer.start(t, old, fresh)
    const { port, publish } = await guarded(t, { profile, authJwksUrl: issuer.url })
    const client = await WireClient.open(profile, port, { rooms: ['a'], headers: bearer(await sign(old, { exp: now() + 8 })) })
    await client.untilKind('ready')
    issuer.keys = [fresh.jwk]
    await publish({ type: 'n', room: 'a', data: 1 })
    await client.until(() => client.events.length === 1)
    t.match(await client.untilKind('bye'), { data: { reason: 'TOKEN_EXPIRED' } })
    await publish({ type: 'n', room: 'a', data: 2 })
    const back = await WireClient.open(profile, port, { rooms: ['a'], cursor: client.cursor, headers: bearer(await sign(fresh)) })
    await back.until(() => back.events.length === 1)
    t.strictSame(back.events.map(({ data }) => data), [2])
    back.cut()
    client.cut()
  })
}
