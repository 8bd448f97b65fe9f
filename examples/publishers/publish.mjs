// Publishes the load of this machine, with nothing but Node.
//
//   node publish.mjs http://127.0.0.1:3000 plant-1
//
// Where tokens are asked for, set SIGNALBOX_TOKEN.

import { randomUUID } from 'node:crypto'
import { hostname, loadavg } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

const [base = 'http://127.0.0.1:3000', room = 'plant-1', times = 'Infinity'] = process.argv.slice(2)
const { SIGNALBOX_TOKEN: token } = process.env

/** Tries until the gateway has the events. The key makes a repeat safe: they are published once. */
async function publish (events) {
  const key = randomUUID()
  let isAway = false
  for (;;) {
    const answer = await fetch(`${base}/api/events`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key, ...(token ? { Authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(events)
    }).catch(error => error)
    if (answer.status === 202) return (await answer.json()).ids
    const mayPass = answer instanceof Error || answer.status === 429 || answer.status >= 502
    if (!mayPass) {
      console.error(await answer.text())
      process.exit(1)
    }
    if (!isAway) console.error(`${base}: ${answer instanceof Error ? 'it does not answer' : `it answers ${answer.status}`}; trying again`)
    isAway = true
    await delay(1000 * Number(answer.headers?.get('Retry-After') ?? 1))
  }
}

for (let n = 0; n < Number(times); n++) {
  if (n > 0) await delay(1000)
  const [id] = await publish([{ type: 'load', room, key: hostname(), data: { load: loadavg()[0] } }])
  console.log(id)
}
