// The configurations of docs/proxies.md in the real proxies, but for TLS and the addresses.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { DRIVERS } from '../client/drivers.ts'
import type { Driver } from '../client/driver.ts'
import { Seat } from '../client/seat.ts'
import { freePort, request, Stage, until } from '../process/harness.ts'
import type { Env, Launched } from '../process/harness.ts'
import { startApache } from '../tools/apache.ts'
import { startCaddy } from '../tools/caddy.ts'
import type { Test } from '../tools/daemon.ts'
import { skipWithout } from '../tools/find.ts'
import type { ToolName } from '../tools/find.ts'
import { HAProxy } from '../tools/haproxy.ts'

t.setTimeout(600_000)
t.jobs = 3

const PAGE = readFileSync(new URL('../../docs/proxies.md', import.meta.url), 'utf8')
const inNode = DRIVERS[0] as Driver

/** A block of the page. @param put what stands in place of what it has; each must be there */
function block (language: string, put: ReadonlyArray<readonly [RegExp, string]>): string {
  const text = new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, 'm').exec(PAGE)?.[1]
  if (text === undefined) throw new Error(`docs/proxies.md has no ${language} any more`)
  return put.reduce((text, [found, instead]) => {
    const replaced = text.replace(found, instead)
    if (replaced === text) throw new Error(`the ${language} of docs/proxies.md has no ${found} any more`)
    return replaced
  }, text)
}

interface Ports {
  readonly public: number
  readonly gateway: number
  /** Where nobody listens. */
  readonly nobody: number
}

const PROXIES: Record<string, { readonly tool: ToolName, readonly start: (t: Test, ports: Ports) => Promise<string> }> = {
  HAProxy: {
    tool: 'haproxy',
    start: async (t, ports) => await HAProxy.forward(t, ports.public, block('haproxy', [[/:443 ssl .*/, `127.0.0.1:${ports.public}`], [/127\.0\.0\.1:3000/, `127.0.0.1:${ports.gateway}`], [/127\.0\.0\.1:3001/, `127.0.0.1:${ports.nobody}`]]))
  },
  Caddy: {
    tool: 'caddy',
    start: async (t, ports) => await startCaddy(t, ports.public, block('caddy', [[/^events\.example\.com/, `http://127.0.0.1:${ports.public}`], [/127\.0\.0\.1:3000/, `127.0.0.1:${ports.gateway}`], [/127\.0\.0\.1:3001/, `127.0.0.1:${ports.nobody}`]]))
  },
  Apache: {
    tool: 'apache',
    start: async (t, ports) => await startApache(t, block('apache', [[/<VirtualHost \*:443>/, `<VirtualHost 127.0.0.1:${ports.public}>`], [/^ *SSL.*\n/gm, ''], [/^ *Protocols.*\n/m, ''], [/127\.0\.0\.1:3000/g, `127.0.0.1:${ports.gateway}`]]), ports.public)
  }
}

for (const [name, { tool, start }] of Object.entries(PROXIES)) {
  t.test(`behind ${name}, events pass one by one, a rollback is followed, and an address that a client claims does not count`, { skip: skipWithout(tool) }, async t => {
    const stage = new Stage(t)
    const ports = { public: await freePort(), gateway: await freePort(), nobody: await freePort() }
    const env: Env = { PORT: ports.gateway, DATA_DIR: stage.folder(), TRUST_PROXY: '127.0.0.1', RECONNECT_JITTER: 1, CONTROL_RATE_LIMIT: 1 }
    const launch = async (profile: string): Promise<Launched> => await stage.launch({ ...env, APP_PROFILE: profile })
    let gateway = await launch('SSE')
    const url = await start(t, ports)
    // HAProxy asks /readyz before it sends anything there.
    await until(`${name} passes requests on`, async () => (await request(`${url}/readyz`).catch(() => null))?.status === 200)

    const seat = await Seat.open(inNode, t, url, { rooms: ['a'] })
    await seat.untilConnected()
    const facts: number[] = []
    const follow = async (): Promise<void> => {
      // Nothing else is sent that could push it out of a buffer.
      for (let n = 0; n < 3; n++) {
        facts.push(facts.length)
        const publish = { json: { type: 'n', room: 'a', data: facts.length - 1 }, headers: { 'Idempotency-Key': `fact-${facts.length}` } }
        await until('it is published', async () => (await request(`${url}/api/events`, publish)).status === 202)
        await seat.until(`fact ${facts.length - 1} is there`, () => seat.facts.length >= facts.length)
      }
    }
    await follow()

    const rooms = Array.from({ length: 100 }, (_, index) => `${index}`.padEnd(128, '/')).map(encodeURIComponent).join()
    t.match(await request(`${url}/api/events?rooms=${rooms}&lastEventId=${'x'.repeat(24_000)}`), { status: 200, text: /"reset":\{/ }, 'the longest address passes')
    t.match(await request(`${url}/metrics`), { status: 404 })
    const asked = await Promise.all(Array.from({ length: 20 }, async (_, n) => (await request(`${url}/api/control`, { json: { command: 'ping' }, headers: { 'X-Forwarded-For': `192.0.2.${n}` } })).status))
    t.ok(asked.includes(429), `one caller, whatever it claims: ${asked.join()}`)

    for (const profile of ['WEBSOCKET', 'SSE']) {
      t.equal(await gateway.stop(), 0)
      gateway = await launch(profile)
      await until(`${name} passes requests on again`, async () => (await request(`${url}/readyz`).catch(() => null))?.status === 200)
      await follow()
      t.same(seat.now, { state: 'connected', profile })
    }
    t.same(seat.facts.map(({ data }) => data), facts, 'each once, in order')
  })
}
