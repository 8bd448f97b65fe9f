// Connections that are refused: over both profiles by an HTTP answer, before there is a stream or a socket, and without using up
// the ticket they brought.

import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { ProfileName } from '../../profiles/index.ts'
import { connect } from '../../src/client/node.ts'
import type { Status } from '../../src/client/node.ts'
import { ALL, ask, bearer, DOORS, guarded, knock, OPEN, token } from '../auth/harness.ts'
import type { Answer } from '../auth/harness.ts'
import { WireClient } from './client.ts'
import { PROFILES } from './harness.ts'
import type { Server, ServerOptions } from './harness.ts'

const TOKEN = token(ALL)
const ticketOf = async ({ port }: Server): Promise<string> => (await ask(port, '/api/ticket', { method: 'POST', headers: bearer(TOKEN) })).body.ticket

async function held (t: Test, profile: ProfileName, { port }: Server, room = 'a'): Promise<WireClient> {
  const client = await WireClient.open(profile, port, { rooms: [room], headers: bearer(TOKEN) })
  t.teardown(() => client.cut())
  await client.untilKind('ready')
  return client
}

async function left (client: WireClient, { gateway }: Server): Promise<void> {
  client.cut()
  while (gateway.view.sessions.count > 0) await new Promise(resolve => setTimeout(resolve, 5))
}

const refusal = ({ status, headers, body }: Answer): unknown => ({ status, code: body.code, retryAfter: Number(headers['retry-after']) >= 1, cookie: headers['set-cookie'] })
const REFUSED = { retryAfter: true, cookie: undefined }

/** What closes the door, who stands in it, and what is answered. */
const CLOSED: ReadonlyArray<{ what: string, options: Partial<ServerOptions>, isTaken?: true, answer: object, bound: string }> = [
  { what: 'MAX_CLIENTS', options: { limits: { maxClients: 1 } }, isTaken: true, answer: { status: 503, code: 'OVERLOADED' }, bound: 'clients' },
  { what: 'MAX_CLIENTS_PER_IP', options: { limits: { maxClientsPerIp: 1 } }, isTaken: true, answer: { status: 429, code: 'RATE_LIMITED' }, bound: 'address' },
  { what: 'MAX_CLIENTS_PER_SUBJECT', options: { limits: { maxClientsPerSubject: 1 } }, isTaken: true, answer: { status: 429, code: 'RATE_LIMITED' }, bound: 'subject' }
]

for (const profile of PROFILES) {
  for (const { what, options, answer, bound } of CLOSED) {
    t.test(`${profile}: ${what} is answered by HTTP, and the ticket works once there is a place`, async t => {
      const server = await guarded(t, { profile, ...options })
      const ticket = await ticketOf(server)
      const client = await held(t, profile, server)
      for (let n = 0; n < 2; n++) t.strictSame(refusal(await knock(profile, server.port, `?rooms=a&ticket=${ticket}`)), { ...answer, ...REFUSED })
      t.strictSame(refusal(await knock(profile, server.port, '?rooms=a', bearer(TOKEN))), { ...answer, ...REFUSED }, 'the same with a token')
      t.equal((server.gateway.troubles.bounds as Record<string, number>)[bound], 3)
      if (profile === 'WEBSOCKET') t.strictSame(refusal(await ask(server.port, DOORS.WEBSOCKET, { headers: bearer(TOKEN) })), { ...answer, ...REFUSED }, 'a plain GET tells a page why')
      await left(client, server)
      t.equal((await knock(profile, server.port, `?rooms=a&ticket=${ticket}`)).status, OPEN[profile])
    })
  }

  t.test(`${profile}: while the log is read and while the gateway drains it is answered by HTTP`, async t => {
    const starting = await guarded(t, { profile, starts: false })
    t.strictSame(refusal(await knock(profile, starting.port, '', bearer(TOKEN))), { status: 503, code: 'STORE_UNAVAILABLE', ...REFUSED })
    const server = await guarded(t, { profile })
    await server.box.drain()
    t.strictSame(refusal(await knock(profile, server.port, '', bearer(TOKEN))), { status: 503, code: 'DRAINING', ...REFUSED })
  })

  t.test(`${profile}: a page of another site and a wish that cannot be met do not use a ticket up`, async t => {
    const server = await guarded(t, { profile, limits: { maxRoomSize: 1 } })
    const ticket = await ticketOf(server)
    const told = async (query: string, headers = {}): Promise<unknown> => {
      const { status, body: { code } } = await knock(profile, server.port, `?ticket=${ticket}${query}`, headers)
      return `${status} ${code}`
    }
    if (profile === 'WEBSOCKET') {
      t.equal(await told('', { Origin: 'https://elsewhere.example' }), '403 FORBIDDEN')
      t.equal((await ask(server.port, `${DOORS.WEBSOCKET}?ticket=${ticket}`)).status, 426)
    } else {
      await held(t, profile, server)
      t.equal(await told('&rooms=a'), '409 ROOM_FULL')
      t.equal(await told('&rooms=b c'.replaceAll(' ', '%20')), '400 BAD_SUBSCRIPTION')
      t.equal(await told('&room=b'), '400 BAD_SUBSCRIPTION')
    }
    t.equal((await knock(profile, server.port, `?ticket=${ticket}`)).status, OPEN[profile])
    t.equal(await told(''), '401 TICKET_USED')
  })

  t.test(`${profile}: our client waits for a place and takes it`, async t => {
    const server = await guarded(t, { profile, limits: { maxClients: 1 } })
    const client = await held(t, profile, server)
    const box = connect(server.url, { rooms: ['a'], token: TOKEN, WebSocket: WebSocket as never })
    t.teardown(() => box.close())
    const seen: Status[] = []
    box.on('status', status => seen.push(status))
    while (seen.length === 0) await new Promise(resolve => setTimeout(resolve, 5))
    t.match(seen[0], { code: 'OVERLOADED', reason: /MAX_CLIENTS/, retryMs: Number })
    await left(client, server)
    while (box.status.state !== 'connected') await new Promise(resolve => setTimeout(resolve, 5))
    t.notOk(seen.some(({ state }) => state === 'refused'))
  })
}
