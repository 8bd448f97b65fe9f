// Tokens at every door: the routes of HTTP, the stream and the socket.

import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { CompactEncrypt, SignJWT } from 'jose'
import { WireClient } from '../wire/client.ts'
import { PROFILES } from '../wire/harness.ts'
import { ALL, ask, bearer, guarded, knock, now, OPEN, SECRET, signed, token } from './harness.ts'

t.jobs = 3

const OTHER = 'Yb0mQpLr83sVwXc5ZtGh7JkN1aDfEu4iOo9RqBvTyUx='
const hearing = { signalbox: ALL }

for (const profile of PROFILES) {
  t.test(`${profile}: what is no good token is refused at every door, before the upgrade, and changes nothing`, async t => {
    let outbound = 0
    const lure = createServer((_request, response) => { outbound++; response.end('{"keys":[]}') }).listen(0, '127.0.0.1')
    t.teardown(() => lure.close())
    await new Promise(resolve => lure.once('listening', resolve))
    const url = `http://127.0.0.1:${(lure.address() as AddressInfo).port}/jwks`
    const { port, gateway } = await guarded(t, { profile, authIssuer: 'https://login.example', authAudience: 'signalbox' })
    const right = { iss: 'https://login.example', aud: 'signalbox', sub: 'ada', exp: now() + 600, ...hearing }
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const pem = publicKey.export({ type: 'spki', format: 'pem' })
    const foreign = await new SignJWT(right).setProtectedHeader({ alg: 'RS256' }).sign(privateKey)
    const encrypted = await new CompactEncrypt(Buffer.from(JSON.stringify(right))).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(Buffer.from(SECRET, 'base64'))
    const [head = '', payload = ''] = signed(right).split('.')

    const bad: Record<string, string> = {
      'another secret': signed(right, { secret: OTHER }),
      'no exp': signed({ ...right, exp: undefined }),
      'exp over by a second': signed({ ...right, exp: now() - 1 }),
      'exp this second': signed({ ...right, exp: now() }),
      'exp a text': signed({ ...right, exp: String(now() + 600) }),
      'exp beyond every number': signed(JSON.stringify(right).replace(/"exp":\d+/, '"exp":1e999')),
      'exp 1e99': signed({ ...right, exp: 1e99 }),
      'exp in milliseconds': signed({ ...right, exp: Date.now() + 600_000 }),
      'exp null': signed({ ...right, exp: null }),
      'nbf in 65 s': signed({ ...right, nbf: now() + 65 }),
      'nbf a text': signed({ ...right, nbf: 'now' }),
      'iat in 65 s': signed({ ...right, iat: now() + 65 }),
      'iat a text': signed({ ...right, iat: 'now' }),
      'another issuer': signed({ ...right, iss: 'https://login.example.evil.example' }),
      'no issuer': signed({ ...right, iss: undefined }),
      'issuer a list': signed({ ...right, iss: ['https://login.example'] }),
      'another audience': signed({ ...right, aud: ['another'] }),
      'no audience': signed({ ...right, aud: undefined }),
      'sub a number': signed({ ...right, sub: 7 }),
      'alg none': `${Buffer.from('{"alg":"none"}').toString('base64url')}.${payload}.`,
      'alg None': `${Buffer.from('{"alg":"None"}').toString('base64url')}.${payload}.`,
      'alg none with a signature': signed(right, { header: { alg: 'none' } }),
      'no alg': signed(right, { header: { alg: undefined } }),
      HS512: signed(right, { header: { alg: 'HS512' } }),
      'a public key as the secret': signed(right, { secret: pem }),
      'a public key as the secret, a line in front': signed(right, { secret: `\n${pem.toString()}` }),
      'a key that nobody listed': foreign,
      'RS256 signed with the secret': signed(right, { header: { alg: 'RS256' } }),
      'crit that is not known': signed(right, { header: { crit: ['exp2'], exp2: 1 } }),
      'crit that says nothing new': signed(right, { header: { crit: ['b64'], b64: true } }),
      'crit b64': signed(right, { header: { crit: ['b64'], b64: false } }),
      nested: signed(signed(right), { header: { cty: 'JWT' } }),
      encrypted,
      'two parts': `${head}.${payload}`,
      'four parts': `${signed(right)}.x`,
      'no base64': '###.###.###',
      'a word': 'hunter2',
      'claims a list': signed([right]),
      'claims a text': signed('"ada"'),
      'claims null': signed('null'),
      'over 8 KiB': signed({ ...right, more: 'x'.repeat(8192) }),
      jku: signed(right, { secret: OTHER, header: { jku: url, kid: 'a' } }),
      jwk: await new SignJWT(right).setProtectedHeader({ alg: 'RS256', jwk: createPublicKey(pem).export({ format: 'jwk' }) as never }).sign(privateKey),
      x5u: signed(right, { secret: OTHER, header: { x5u: url } }),
      'kid a path': signed(right, { secret: '', header: { kid: '../../dev/null' } })
    }
    for (const [name, text] of Object.entries(bad)) {
      const answers = await Promise.all([
        ask(port, '/api/events', { headers: bearer(text), body: { type: 'a', data: 1 } }),
        knock(profile, port, '', bearer(text)),
        ask(port, '/api/rooms', { headers: { Cookie: `signalbox_token=${text}` } })
      ])
      t.strictSame(answers.map(({ status, body }) => [status, body.code]), Array(3).fill([401, 'UNAUTHENTICATED']), name)
      t.strictSame(answers.map(({ headers }) => headers['www-authenticate']), Array(3).fill('Bearer'), name)
      if (name.startsWith('exp over') || name === 'exp this second') t.match(answers.map(({ body }) => body.message), Array(3).fill(/expired/), `${name}: it is said`)
      for (const { body } of answers) t.notMatch(JSON.stringify(body), text.slice(-12), `${name}: the token is not repeated`)
    }
    t.equal(outbound, 0, 'no address in a token is asked')
    t.equal(gateway.counters.opened, 0, 'nothing was opened')

    const good: Record<string, string> = {
      'as it should be': signed(right),
      'nbf and iat in 55 s': signed({ ...right, nbf: now() + 55, iat: now() + 55 }),
      'several audiences': signed({ ...right, aud: ['another', 'signalbox'] }),
      'without sub': signed({ ...right, sub: undefined }),
      'nearly 8 KiB': signed({ ...right, more: 'x'.repeat(5500) })
    }
    for (const [name, text] of Object.entries(good)) {
      t.equal((await knock(profile, port, '', bearer(text))).status, OPEN[profile], name)
      t.equal((await ask(port, '/api/rooms', { headers: bearer(text) })).status, 200, name)
    }
  })

  t.test(`${profile}: where a token may stand`, async t => {
    const { port } = await guarded(t, { profile })
    const good = token(ALL)
    const status = async (query: string, headers: object): Promise<number> => (await knock(profile, port, query, headers as never)).status
    t.equal(await status('', bearer(good)), OPEN[profile], 'in the header')
    t.equal(await status('', { Authorization: `bearer   ${good}` }), OPEN[profile], 'whose scheme is in any case')
    t.equal(await status('', { Cookie: `x=1; signalbox_token=${good}`, Origin: `http://127.0.0.1:${port}` }), OPEN[profile], 'in the cookie')
    const two = await knock(profile, port, '', { Authorization: [`Bearer ${good}`, `Bearer ${good}`] as never })
    t.strictSame([two.status, two.body.code], [400, 'BAD_REQUEST'], 'not in two headers')
    t.equal(await status('', { Authorization: `Bearer ${good}, Bearer ${good}` }), 401)
    t.equal(await status('', { Authorization: `Basic ${good}` }), 401, 'not in another scheme')
    t.equal(await status('', { Authorization: '' }), 401)
    t.equal(await status(`?access_token=${good}`, {}), 401, 'not in the address')
    t.equal(await status(`?ticket=${good}`, {}), 401, 'where only a ticket may be')
    t.equal(await status('', { Authorization: 'Bearer hunter2', Cookie: `signalbox_token=${good}` }), 401, 'the header wins over the cookie, good or bad')
    t.equal(await status('', {}), 401, 'nowhere')
  })
}

t.test('several secrets verify', async t => {
  const { port } = await guarded(t, { profile: 'SSE', authJwtSecret: `${OTHER}, ${SECRET}` })
  for (const secret of [OTHER, SECRET]) t.equal((await ask(port, '/api/rooms', { headers: bearer(token(ALL, {}, secret)) })).status, 200)
  t.equal((await ask(port, '/api/rooms', { headers: bearer(token(ALL, {}, `${OTHER}, ${SECRET}`)) })).status, 401, 'the list itself is none')
})

t.test('a token that has been accepted is refused from the second of its exp', async t => {
  const { port } = await guarded(t, { profile: 'SSE' })
  const short = token(ALL, { exp: now() + 5 })
  t.equal((await ask(port, '/api/rooms', { headers: bearer(short) })).status, 200)
  let last = 0
  while (last !== 401) {
    const before = Date.now()
    last = (await ask(port, '/api/rooms', { headers: bearer(short) })).status
    if (last === 200) t.ok(before < (JSON.parse(Buffer.from(short.split('.')[1] as string, 'base64url').toString()) as { exp: number }).exp * 1000)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
})

t.test('a claim that is missing or malformed allows nothing', async t => {
  const { port, publish } = await guarded(t, { profile: 'WEBSOCKET' })
  await publish({ type: 'a', room: 'plant', data: 1 })
  for (const claim of [undefined, null, [], 'all', 7, {}, { subscribe: '*' }, { subscribe: [7] }, { subscribe: ['*'], publish: 'x' }, { subscribe: ['*'], control: [null] }, { Subscribe: ['*'] }, { __proto__: { subscribe: ['*'] } }]) {
    const headers = bearer(token(claim))
    const name = JSON.stringify(claim) ?? 'none'
    t.strictSame((await ask(port, '/api/rooms', { headers })).body, { rooms: [], more: false }, `${name}: it hears of no room`)
    t.strictSame((await ask(port, '/api/control', { headers })).body, { commands: [] }, `${name}: it knows no command`)
    t.strictSame((await ask(port, '/api/events', { headers, body: { type: 'a', room: 'plant', data: 1 } })).body.code, 'FORBIDDEN', `${name}: it publishes nothing`)
    t.strictSame((await ask(port, '/api/control', { headers, body: { command: 'ping' } })).body.code, 'FORBIDDEN', `${name}: it runs nothing`)
    const client = await WireClient.open('WEBSOCKET', port, { rooms: ['plant'], headers })
    const error = await client.untilKind('error')
    t.match(error, { data: { code: 'FORBIDDEN', message: /may not hear plant/ } }, `${name}: it joins nothing`)
    client.cut()
  }
})

t.test('the signature of a token that fits no claim is no use elsewhere: a ticket is no token, a token no ticket or cookie of a stream', async t => {
  const { port } = await guarded(t, { profile: 'SSE' })
  const { ticket } = (await ask(port, '/api/ticket', { method: 'POST', headers: bearer(token(ALL)) })).body
  t.equal((await ask(port, '/api/rooms', { headers: bearer(ticket) })).status, 401)
  t.equal((await knock('SSE', port, '', { Cookie: `signalbox_ticket=${ticket}` })).status, 401)
  t.equal((await knock('SSE', port, `?ticket=${token(ALL)}`)).status, 401)
  t.equal((await knock('SSE', port, '', { Cookie: `signalbox_ticket=${token(ALL)}` })).status, 401)
  const { headers } = await knock('SSE', port, `?ticket=${ticket}`)
  const cookie = /signalbox_ticket=([^;]+)/.exec(String(headers['set-cookie']))?.[1] ?? ''
  t.equal((await knock('SSE', port, `?ticket=${cookie}`)).status, 401)
  t.equal((await ask(port, '/api/rooms', { headers: bearer(cookie) })).status, 401)
  t.equal((await ask(port, '/api/rooms', { headers: { Cookie: `signalbox_token=${cookie}` } })).status, 401)
})
