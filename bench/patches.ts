// What patches save, and what they cost: 1,000 viewers of a room with ten keys, whose values are objects of 2, 20 and 200
// members, two of which change with each update. Whole values and patches in turn, each in a fresh server. Bytes are those
// of the events on one viewer's wire; CPU is the server's, for each update of a key, everything included. `npm run build`
// comes first: node --import tsx bench/patches.ts [members ...]

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { startServer } from './server.ts'

const VIEWERS = 1000
const KEYS = 10
const MEMBERS = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [2, 20, 200]
const ROUNDS = 3
const WARM_UP = 20
const BATCHES = 50
/** Longer than a tick: each batch is a bundle. */
const GAP_MS = 130

const valueOf = (members: number, n: number): object => Object.fromEntries(Array.from({ length: members }, (_, index) => [`member${index}`, index < 2 ? n + index / 10 : `a text of ${index}`]))

async function view (port: number, patch: boolean): Promise<{ socket: Socket, bytes: () => number }> {
  const socket = connect(port, '127.0.0.1')
  let bytes = 0
  socket.write(`GET /api/events/stream?rooms=a${patch ? '&patch=merge' : ''} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)
  await new Promise(resolve => socket.once('data', resolve).once('error', resolve))
  socket.on('data', chunk => { bytes += chunk.length })
  return { socket, bytes: () => bytes }
}

async function run (members: number, patch: boolean): Promise<{ cpuUs: number, bytes: number }> {
  const server = await startServer({ DATA_DIR: ':memory:', APP_PROFILE: 'SSE', TICK_FLOOR_MS: 100, MONITOR_TICK_MS: 100 })
  const viewers: Array<Awaited<ReturnType<typeof view>>> = []
  while (viewers.length < VIEWERS) viewers.push(...await Promise.all(Array.from({ length: 50 }, async () => await view(server.port, patch))))
  const publish = async (n: number): Promise<void> => {
    const events = Array.from({ length: KEYS }, (_, key) => ({ type: 'gauge', room: 'a', key: `key-${key}`, data: valueOf(members, n) }))
    await (await fetch(`http://127.0.0.1:${server.port}/api/events`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(events) })).text()
    await delay(GAP_MS)
  }
  for (let n = 0; n < WARM_UP; n++) await publish(n)
  const before = { cpuMs: server.cpuMs, bytes: (viewers[0] as typeof viewers[0]).bytes() }
  for (let n = 0; n < BATCHES; n++) await publish(WARM_UP + n)
  const after = { cpuMs: server.cpuMs, bytes: (viewers[0] as typeof viewers[0]).bytes() }
  for (const { socket } of viewers) socket.destroy()
  await server.stop()
  return { cpuUs: 1000 * (after.cpuMs - before.cpuMs) / (BATCHES * KEYS), bytes: (after.bytes - before.bytes) / (BATCHES * KEYS) }
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] as number
const span = (values: number[]): string => `${Math.round(median(values))} (${Math.round(Math.min(...values))} to ${Math.round(Math.max(...values))})`

console.log('| members | bytes an update, whole | patch | CPU an update, µs, whole | patch |\n| --: | --: | --: | --: | --: |')
for (const members of MEMBERS) {
  const results = { whole: [] as Array<Awaited<ReturnType<typeof run>>>, patch: [] as Array<Awaited<ReturnType<typeof run>>> }
  for (let round = 0; round < ROUNDS; round++) {
    results.whole.push(await run(members, false))
    results.patch.push(await run(members, true))
  }
  const column = (results: Array<Awaited<ReturnType<typeof run>>>, name: 'cpuUs' | 'bytes'): number[] => results.map(result => result[name])
  console.log(`| ${members} | ${Math.round(median(column(results.whole, 'bytes')))} | ${Math.round(median(column(results.patch, 'bytes')))} | ${span(column(results.whole, 'cpuUs'))} | ${span(column(results.patch, 'cpuUs'))} |`)
}
process.exit(0)
