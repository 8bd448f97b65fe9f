// The examples, as their first lines say. Here `signalbox` is this package as it was built.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { folderFor } from '../tools/daemon.ts'
import { childEnv, need, skipWithout } from '../tools/find.ts'

const EXAMPLES = join(import.meta.dirname, '..', '..', 'examples')

interface Example { readonly child: ChildProcess, readonly url: string, readonly end: () => Promise<number | null> }

/** Runs a server of the examples. */
async function run (t: Test, name: string, env: Record<string, string> = {}): Promise<Example> {
  const child = spawn(process.execPath, [join(EXAMPLES, name, 'server.mjs')], { env: { ...process.env, PORT: '0', DATA_DIR: join(folderFor(t), 'data'), ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = new Promise<number | null>(resolve => child.once('exit', resolve))
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const port = /^http:\/\/[^/\s]*:(\d+)/m.exec(text)?.[1]
      if (port !== undefined) resolve(`http://127.0.0.1:${port}`)
    })
    void ended.then(code => reject(new Error(`it ended with ${code}`)))
  })
  return { child, url, end: async () => { child.kill('SIGTERM'); return await ended } }
}

const read = async (url: string): Promise<any> => await (await fetch(`${url}/live/api/events?rooms=plant-1`)).json()
const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({ method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', ...headers } })

/** What a page sees within its first seconds. */
async function watch (url: string, seconds: number): Promise<string> {
  const stream = await fetch(`${url}/live/api/events/stream?rooms=plant-1`, { signal: AbortSignal.timeout(seconds * 1000) })
  let text = ''
  try {
    for await (const chunk of stream.body ?? []) {
      text += Buffer.from(chunk).toString()
      if ((text.match(/"type":"cpu"/g) ?? []).length > 1) break
    }
  } catch {}
  return text
}

for (const name of ['fastify', 'express', 'hono', 'node-http']) {
  t.test(`${name}: it serves a page, which finds the client, and ends by SIGTERM`, async t => {
    const { url, end } = await run(t, name)
    t.match(await (await fetch(url)).text(), /connect\('\/live'/)
    t.match(await (await fetch(`${url}/live/client.js`)).text(), /as connect\b/)
    if (name === 'express' || name === 'hono') {
      t.match(await (await fetch(`${url}/measurements`, post({ percent: 41 }))).json(), { id: /-/ })
      t.match((await read(url)).events, [{ type: 'cpu', key: 'host-7', data: 41 }])
    }
    if (name === 'fastify') t.equal((await watch(url, 20)).match(/"type":"cpu"/g)?.length, 2, 'it goes on measuring while somebody watches')
    if (name === 'node-http') t.match((await read(url)).events, [{ data: 42 }])
    t.equal(await end(), 0)
  })
}

t.test('express: publishing from outside needs the key, in either profile', async t => {
  const { url } = await run(t, 'express', { PROFILE: 'WEBSOCKET', PUBLISH_KEY: 'sesame' })
  t.match(await (await fetch(`${url}/live/api/profile`)).json(), { profile: 'WEBSOCKET', auth: true })
  const event = { type: 'cpu', room: 'plant-1', key: 'host-7', data: 1 }
  t.match(await (await fetch(`${url}/live/api/events`, post(event))).json(), { code: 'FORBIDDEN' })
  t.match(await (await fetch(`${url}/live/api/events`, post(event, { Authorization: 'Bearer sesame' }))).json(), { ids: [/-/] })
})

async function output (t: Test, file: string, args: readonly string[], env: NodeJS.ProcessEnv, onText = (): void => {}): Promise<{ code: number | null, text: string }> {
  const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  for (const pipe of [child.stdout, child.stderr]) pipe.setEncoding('utf8').on('data', (more: string) => { text += more; onText() })
  return await new Promise(resolve => child.once('close', code => resolve({ code, text })))
}

t.test('publishers in Node and Python publish over HTTP, and wait for a gateway that is away', { skip: skipWithout('python') }, async t => {
  const python = need('python')
  const first = await run(t, 'express', { PUBLISH_KEY: 'sesame' })
  const args = (times: string): string[] => [`${first.url}/live`, 'plant-1', times]
  const token = { SIGNALBOX_TOKEN: 'sesame' }
  const node = async (env: NodeJS.ProcessEnv, onText?: () => void): Promise<{ code: number | null, text: string }> => await output(t, process.execPath, [join(EXAMPLES, 'publishers/publish.mjs'), ...args('1')], { ...process.env, ...env }, onText)
  const py = async (env: NodeJS.ProcessEnv, onText?: () => void): Promise<{ code: number | null, text: string }> => await output(t, python.bin, [join(EXAMPLES, 'publishers/publish.py'), ...args('1')], { ...childEnv(python), ...env }, onText)
  for (const publisher of [node, py]) {
    t.match(await publisher(token), { code: 0, text: /^\d+-\d+\n$/ })
    t.match(await publisher({}), { code: 1, text: /^\{.*FORBIDDEN.*\}\n$/ })
  }
  t.match((await read(first.url)).events, [{ type: 'load', room: 'plant-1', data: { load: Number } }])
  await first.end()
  let complaints = 0
  const waiting = [node, py].map(async publisher => await publisher(token, () => { complaints++ }))
  while (complaints < waiting.length) await delay(50)
  await run(t, 'express', { PUBLISH_KEY: 'sesame', PORT: new URL(first.url).port })
  for (const publisher of waiting) t.match(await publisher, { code: 0, text: /^http:[^\n]*: it does not answer; trying again\n\d+-\d+\n$/ })
})
