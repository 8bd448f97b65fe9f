// The package's main export, as programs get it: packed, in a folder of theirs.

import { execFile, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { folderFor } from '../tools/daemon.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const run = promisify(execFile)

// As npm would install it, with its dependencies from here.
const program = folderFor(t)
await run('npm', ['pack', '--ignore-scripts', '--pack-destination', program], { cwd: ROOT, shell: process.platform === 'win32' })
const modules = join(program, 'node_modules')
mkdirSync(join(modules, '@types'), { recursive: true })
await run('tar', ['-xzf', readdirSync(program).find(name => name.endsWith('.tgz')) as string, '-C', modules], { cwd: program })
renameSync(join(modules, 'package'), join(modules, 'signalbox'))
const { dependencies } = JSON.parse(readFileSync(join(modules, 'signalbox', 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
for (const name of [...Object.keys(dependencies), '@types/node']) {
  if (name.startsWith('@')) mkdirSync(join(modules, name.split('/')[0] as string), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules', name), join(modules, name), 'junction')
}
writeFileSync(join(program, 'package.json'), '{ "type": "module" }')

t.test('the ten lines of README run in an empty folder, and the page they serve is live', async t => {
  const [lines] = /(?<=^```js\n)import Fastify from 'fastify'\nimport signalbox from 'signalbox'\n[^]*?(?=^```$)/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? ['']
  t.ok(readFileSync(join(ROOT, 'docs', 'plugin.md'), 'utf8').includes(lines), 'docs/plugin.md shows the same')
  writeFileSync(join(program, 'server.mjs'), `${lines.replace('port: 8080', 'port: 0')}console.log(app.server.address().port)`)
  const child = spawn(process.execPath, ['server.mjs'], { cwd: program, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const port = await new Promise<string>(resolve => child.stdout.setEncoding('utf8').once('data', (text: string) => resolve(text.trim())))
  const url = `http://127.0.0.1:${port}`
  t.match(await (await fetch(url)).text(), /<output><\/output>/)
  t.match(await (await fetch(`${url}/live/client.js`)).text(), /as connect\b/)
  t.match(await (await fetch(`${url}/live/`)).text(), /dashboard\.js/)
  const values = async (): Promise<any> => await (await fetch(`${url}/live/api/events?rooms=plant-1`)).json()
  const { cursor } = await values()
  const later = await (await fetch(`${url}/live/api/events?rooms=plant-1&lastEventId=${encodeURIComponent(cursor)}&wait=30`)).json()
  t.match(later, { position: 'resumed', events: [{ type: 'cpu', key: 'host-7', data: Number }] })
})

t.test('CommonJS gets it too, and a Fastify there takes it as it is', async t => {
  writeFileSync(join(program, 'server.cjs'), `const app = require('fastify')()
const { createSignalbox } = require('signalbox')
app.register(require('signalbox'), { dataDir: ':memory:' })
app.ready().then(() => app.signalbox.publish({ type: 'x', data: 1 })).then(ids => { console.log(ids.length, typeof createSignalbox); return app.close() })`)
  const { stdout } = await run(process.execPath, ['server.cjs'], { cwd: program, timeout: 120_000 })
  t.equal(stdout, '1 function\n')
})

const SOURCE = `import { createServer } from 'node:http'
import Fastify from 'fastify'
import signalbox, { createSignalbox } from 'signalbox'
import type { Grants, Signalbox, SignalboxServer } from 'signalbox'

interface Events { cpu: { percent: number }, alarm: { level: 1 | 2 | 3, text: string } }
declare module 'fastify' {
  interface FastifyInstance { orders: Signalbox<Events> }
  interface FastifyRequest { identity: string, user: { id: string } | null }
}

const app = Fastify()
await app.register(signalbox, { prefix: '/live', profile: 'WEBSOCKET', maxRoomSize: 7, corsOrigins: ['https://a.example'], redisUrl: process.env.REDIS_URL, logLevel: 'warn' })
await app.register(signalbox, {
  name: 'orders',
  prefix: '/orders',
  authorize: async (request): Promise<Grants | null> => request.user === null ? null : { subject: request.user.id, subscribe: ['*'], expiresAt: new Date() }
})
const ids: string[] = await app.signalbox.publish({ type: 'anything', data: [1, null, { a: 'b' }] })
await app.signalbox.publish<Events>([{ type: 'cpu', key: 'host-7', data: { percent: 42 } }, { type: 'alarm', room: 'a', data: { level: 3, text: 'hot' } }], { idempotencyKey: ids[0] })
await app.orders.publish({ type: 'cpu', key: 'host-7', data: null })
// @ts-expect-error the data are those of another type
await app.orders.publish({ type: 'cpu', data: { level: 3, text: 'hot' } })
// @ts-expect-error there is no such type
await app.signalbox.publish<Events>({ type: 'cup', data: { percent: 42 } })
const { events, cursor, reset } = await app.orders.read({ rooms: ['a', { room: 'b', types: ['cpu'] }], lastEventId: null, wait: 1 })
for (const event of events) if (event.type === 'alarm' && event.data !== null) console.log(event.id, event.data.level.toFixed(), cursor.length, reset?.reason)
const { status, result }: { status: 'done' | 'running' | 'unknown', result?: unknown } = await app.signalbox.control('ping', {}, { idempotencyKey: 'one' })
const off: () => void = app.signalbox.on('occupied', (room: string) => console.log(room, status, result))
off()
// @ts-expect-error there is no such event
app.signalbox.on('full', () => {})

const box: SignalboxServer<Events> = await createSignalbox<Events>({ prefix: '/live', authorize: ({ headers }) => headers.cookie === undefined ? null : { publish: ['*'] } })
await box.publish({ type: 'cpu', data: { percent: 1 } })
createServer((request, response) => box.handle(request, response, () => response.end())).on('upgrade', box.upgrade)
await box.close()
// @ts-expect-error the program listens, not the gateway
await createSignalbox({ port: 80 })
// @ts-expect-error a misspelt setting
await createSignalbox({ maxRoomSise: 80 })
`

t.test('a strict TypeScript program gets its types, and none of the gateway\'s own', async t => {
  writeFileSync(join(program, 'program.ts'), SOURCE)
  writeFileSync(join(program, 'tsconfig.json'), JSON.stringify({ compilerOptions: { module: 'nodenext', target: 'es2023', lib: ['es2023', 'dom'], strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true, types: ['node'], skipDefaultLibCheck: true }, files: ['program.ts'] }))
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  const complaints = await run(process.execPath, [tsc, '-p', program], { timeout: 300_000 }).then(() => '', (error: { stdout: string }) => error.stdout)
  t.same(complaints.split('\n').filter(line => line !== '' && !/^node_modules\/(?!signalbox)|^\.\.|^\//.test(line)), [])
})
