// The package as it is published: what is in it, what it imports, and whether those who use its client get its types.

import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { builtinModules, createRequire } from 'node:module'
import { join, posix } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import t from 'tap'
import { freePort } from './process/harness.ts'
import { openBrowser, openContext, skipWithout } from './tools/chromium.ts'
import { Daemon, folderFor } from './tools/daemon.ts'

// npm installs and the compiler runs, also on a busy machine.
t.setTimeout(600_000)

const ROOT = join(import.meta.dirname, '..')
const CLIENT_BYTES = 8192
const run = promisify(execFile)

// As `npm publish` would make it, of what is built.
const consumer = folderFor(t)
await run('npm', ['pack', '--ignore-scripts', '--pack-destination', consumer], { cwd: ROOT, shell: process.platform === 'win32' })
const tarball = readdirSync(consumer).find(name => name.endsWith('.tgz')) as string
mkdirSync(join(consumer, 'node_modules'))
await run('tar', ['-xzf', tarball, '-C', 'node_modules'], { cwd: consumer })
const folder = join(consumer, 'node_modules', 'signalbox')
renameSync(join(consumer, 'node_modules', 'package'), folder)
const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => name.replaceAll('\\', '/'))

t.test('publint has nothing to say', async t => {
  const { messages, pkg } = await publint({ pkgDir: folder, pack: false, strict: true })
  t.same(messages.map(message => formatMessage(message, pkg)), [])
})

t.test('attw has nothing to say of the ways that resolve exports; a CommonJS program requires it as ESM, which Node does since 20.19', async t => {
  const { problems, entrypoints } = await checkPackage(createPackageFromTarballData(readFileSync(join(consumer, tarball)))) as Exclude<Awaited<ReturnType<typeof checkPackage>>, { types: false }>
  t.same(Object.keys(entrypoints).sort(), Object.keys(manifest.exports).sort())
  t.same(problems.filter(({ kind, ...problem }) => !(kind === 'CJSResolvesToESM' || (kind === 'NoResolution' && 'resolutionKind' in problem && problem.resolutionKind === 'node10'))), [])
})

t.test('links in README and docs lead to a file of the package, and to a heading in it, or are absolute', async t => {
  const pages = files.filter(name => name.endsWith('.md'))
  t.ok(pages.length > 8, `${pages.length} pages`)
  const headings = new Map(pages.map(page => [page, anchorsOf(textOf(page))]))
  for (const page of pages) {
    for (const [, target] of textOf(page).matchAll(/\]\(([^()\s]+)\)/g) as Iterable<[string, string]>) {
      if (/^https?:\/\//.test(target)) continue
      const [path, anchor] = target.split('#') as [string, string?]
      const file = path === '' ? page : posix.join(posix.dirname(page), path)
      t.ok(files.includes(file), `${page}: ${target}`)
      if (anchor !== undefined) t.ok(headings.get(file)?.has(anchor), `${page}: ${target}`)
    }
  }
})

/** Markdown without its code. */
function textOf (page: string): string {
  return readFileSync(join(folder, page), 'utf8').replace(/^```.*?^```$/gms, '').replace(/`[^`\n]*`/g, code => code.replace(/[[\]()]/g, ''))
}

/** The anchors of its headings, as GitHub and npm name them. */
function anchorsOf (text: string): Set<string> {
  return new Set([...text.matchAll(/^#+ (.+)$/gm)].map(([, title]) => (title as string).toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')))
}

t.test('it contains code, types and the guide, and no tests, build files or maps of sources that it does not contain', async t => {
  const wanted = [
    'dist/launcher.js', 'dist/web/index.html', 'dist/web/client.js', 'dist/web/client.js.br', 'dist/web/client.js.gz', 'dist/web/index.html.br', 'dist/web/client.d.ts', 'dist/src/client/index.d.ts', 'dist/src/react/index.js', 'dist/src/react/index.d.ts',
    'README.md', 'LICENSE', 'CHANGELOG.md', 'UPGRADE.md', '.env.example', 'deploy/nginx.conf', 'deploy/compose.yaml', 'deploy/health.js', 'docs/containers.md', 'docs/examples/page.html', 'deploy/signalbox.service', 'docs/protocol.md', 'docs/operations.md'
  ]
  for (const name of wanted) t.ok(files.includes(name), name)
  t.same(files.filter(name => !name.startsWith('examples/') && /(^|\/)(test|bench)\/|\.tsbuildinfo$|\.map$|(?<!\.d)\.ts$/.test(name)), [])
  t.same(readFileSync(join(folder, 'dist/launcher.js'), 'utf8').split('\n')[0], '#!/usr/bin/env node')
  const { size } = statSync(join(consumer, tarball))
  t.comment(`${size} bytes packed, ${files.length} files`)
  t.ok(size < 1_000_000, `${size} bytes`)
})

t.test('installing it runs no script, in the repository too, where the compiler may be left out', async t => {
  t.same(['preinstall', 'install', 'postinstall', 'prepare', 'prepublish'].filter(name => name in manifest.scripts), [])
  t.match(manifest.scripts.prepack, /rmSync\('dist'.*npm run build$/, 'what is published is built, into an empty folder')
  t.same(manifest.publishConfig, { access: 'public', provenance: true }, 'and published where its origin is attested')
})

t.test('npm start without the compiler starts what was built before, or says what to do', async t => {
  const site = folderFor(t)
  const prestart = async (): Promise<{ code: number, stderr: string }> => await run(process.execPath, [join(ROOT, 'prestart.js')], { cwd: site }).then(({ stderr }) => ({ code: 0, stderr }), error => error)
  t.match(await prestart(), { code: 1, stderr: /npm ci --include=dev/ })
  mkdirSync(join(site, 'dist'))
  writeFileSync(join(site, 'dist', 'launcher.js'), '')
  t.match(await prestart(), { code: 0, stderr: '' })
})

t.test('the lock fits package.json and its overrides: npm ls has nothing to say', async t => {
  t.same(JSON.parse((await run('npm', ['ls', '--all', '--package-lock-only', '--json'], { cwd: ROOT, shell: process.platform === 'win32', maxBuffer: 1e8 })).stdout).problems, undefined)
})

t.test('all that it imports is a dependency of its own', async t => {
  // The hooks import the client by its own name, so that a page has one of it, and the application's React.
  const known = new Set([...builtinModules, ...Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }), 'signalbox'])
  const imported = new Map<string, string>()
  for (const name of files.filter(name => /^(dist(?!\/web)|deploy)\/.*\.js$/.test(name))) {
    for (const [, from, effect, dynamic] of readFileSync(join(folder, name), 'utf8').matchAll(/^(?:import|export)\b[^'"\n;]*\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm)) {
      const target = (from ?? effect ?? dynamic) as string
      if (!target.startsWith('.')) imported.set(/^(@[^/]+\/)?[^/]+/.exec(target.replace(/^node:/, ''))?.[0] as string, name)
    }
  }
  t.ok(imported.size > 10, `${imported.size} packages`)
  t.same([...imported].filter(([target]) => !known.has(target)), [])
})

t.test(`the browser's client is one module without imports, under ${CLIENT_BYTES} bytes when packed for the way`, async t => {
  const text = readFileSync(join(folder, 'dist/web/client.js'), 'utf8')
  const bytes = gzipSync(text, { level: 9 }).length
  t.comment(`${bytes} bytes by gzip, ${Buffer.byteLength(text)} as it is`)
  t.ok(bytes < CLIENT_BYTES, `${bytes} bytes`)
  t.notMatch(text, /(?:^|[;}])\s*import\b\s*[{*"'\w(]/, 'it imports nothing')
  t.match(text, /export\s*\{[^}]*\bas connect\b/)
})

// Projects as others set them up; the client's types must do without those of Node and of Fastify.
const PROJECTS = {
  nodenext: { module: 'nodenext', target: 'es2023', lib: ['es2023', 'dom'] },
  bundler: { module: 'esnext', moduleResolution: 'bundler', target: 'es2022', lib: ['es2022', 'dom'] }
}
const SOURCE = `import { connect, ControlError } from 'signalbox/client'
import type { Box, Event, Status } from 'signalbox/client'

const box: Box = connect('/', { rooms: ['plant-1'], types: ['cpu'], share: true })
const off: () => void = box.on('event', event => { const id: string = event.id; console.log(id, event.room, event.data) })
box.on('status', (status: Status) => {
  if (status.state === 'stale') console.log(new Date(status.since), status.reason, status.code, status.retryMs ?? 'now')
  if (status.state === 'connecting' && status.reason !== undefined) console.log(status.code, status.retryMs ?? 'now')
  if (status.state === 'connected') console.log(status.profile === 'SSE')
})
const newest: Event | undefined = box.state.get('plant-1', 'cpu', 'host-7')
console.log(newest, box.state.size, [...box.state.entries()].length, box.state.subscribe(off))
try {
  const { id, result } = await box.control('ping', {}, { idempotencyKey: 'one', signal: AbortSignal.timeout(1000), onWait: (retryMs, code) => console.log(retryMs.toFixed(), code) })
  console.log(id.length, result)
} catch (error) {
  if (error instanceof ControlError) console.log(error.code, error.message)
}
box.close()
interface Events {
  cpu: { percent: number }
  alarm: string
}
const typed: Box<Events> = connect<Events>('/', { rooms: ['plant-1'] })
typed.on('event', event => {
  if (event.type === 'alarm') console.log(event.data?.toUpperCase())
  // @ts-expect-error the data of this type is an object
  if (event.type === 'cpu') console.log(event.data?.toUpperCase())
  // @ts-expect-error a deleted key has no data
  if (event.type === 'cpu') console.log(event.data.percent)
  // @ts-expect-error there is no such type
  if (event.type === 'gpu') console.log(event.data)
})
const percent: number | undefined = typed.state.get('plant-1', 'cpu', 'host-7')?.data.percent
// @ts-expect-error there is no such type
typed.state.get('plant-1', 'gpu', 'host-7')
for (const value of typed.state.entries()) if (value.type === 'alarm') console.log(value.data.length, typed.age(value) / 1000, percent)
const { members, position } = await typed.join(['plant-2', { room: 'plant-3', types: ['alarm'] }])
console.log(members['plant-2']?.toFixed(), position, (await typed.leave(['plant-1'])).cursor.length)
// @ts-expect-error a room is a name, or a room and types
await typed.join([{ name: 'plant-2' }])
// @ts-expect-error there is no such happening
box.on('evnt', () => {})
// @ts-expect-error rooms are a list
connect('/', { rooms: 'plant-1' })
export {}
`

const HOOKS = `import { createElement } from 'react'
import { createHooks, SignalboxProvider, useEvents, useRooms, useValue } from 'signalbox/react'

interface Events {
  cpu: { percent: number }
  alarm: string
}
const typed = createHooks<Events>()
export function Page () {
  const percent: number | undefined = typed.useValue('plant-1', 'cpu', 'host-7')?.percent
  const alarms: string[] = typed.useValues('plant-1', 'alarm').map(({ data }) => data)
  // @ts-expect-error there is no such type
  typed.useValue('plant-1', 'gpu', 'host-7')
  typed.useEvents(event => { if (event.type === 'alarm') console.log(event.data?.length) })
  useEvents(({ type, data }) => console.log(type, data))
  const anything: unknown = useValue('plant-1', 'gpu', 'host-7')
  return JSON.stringify([percent, alarms, anything, typed.useStatus().state, useRooms(['plant-2'])?.message])
}
// @ts-expect-error rooms are a list
createElement(SignalboxProvider, { rooms: 'plant-1' })
createElement(typed.SignalboxProvider, { url: '/', rooms: ['plant-1'] }, createElement(Page))
`

/** @returns what the compiler says of a strict project */
async function compile (project: string, compilerOptions: object, files = ['page.ts']): Promise<string> {
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...compilerOptions, strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true, skipDefaultLibCheck: true, types: [] }, files }))
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  return await run(process.execPath, [tsc, '-p', project], { timeout: 300_000 }).then(() => '', (error: { stdout: string, message: string }) => error.stdout === '' ? error.message : error.stdout)
}

symlinkSync(join(ROOT, 'node_modules', '@types'), join(consumer, 'node_modules', '@types'))
for (const [name, compilerOptions] of Object.entries(PROJECTS)) {
  t.test(`a strict TypeScript project with moduleResolution ${name} gets the types of the client and of the hooks`, async t => {
    const project = join(consumer, name)
    mkdirSync(project)
    writeFileSync(join(project, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(project, 'page.ts'), SOURCE)
    writeFileSync(join(project, 'hooks.ts'), HOOKS)
    t.equal(await compile(project, compilerOptions, ['page.ts', 'hooks.ts']), '')
  })
}

t.test('client.d.ts beside a copy of client.js types it, also by the names that a CommonJS project needs', async t => {
  const projects = {
    esm: { type: 'module', module: 'client.js', types: 'client.d.ts', source: SOURCE.replaceAll('signalbox/client', './client.js') },
    commonjs: {
      type: 'commonjs',
      module: 'signalbox.mjs',
      types: 'signalbox.d.mts',
      source: `import('./signalbox.mjs').then(({ connect }) => {
  const place: string = connect('/', { rooms: ['plant-1'] }).lastEventId
  // @ts-expect-error rooms are a list
  return [place, connect('/', { rooms: 'plant-1' })]
})`
    }
  }
  for (const [name, { type, module, types, source }] of Object.entries(projects)) {
    const project = join(consumer, name)
    mkdirSync(project)
    writeFileSync(join(project, 'package.json'), JSON.stringify({ type }))
    copyFileSync(join(folder, 'dist/web/client.js'), join(project, module))
    copyFileSync(join(folder, 'dist/web/client.d.ts'), join(project, types))
    writeFileSync(join(project, 'page.ts'), source)
    t.equal(await compile(project, PROJECTS.nodenext), '', name)
  }
})

t.test('in an empty folder: npm install, the lines of README, and a page follows live; the command of the package runs too', { skip: skipWithout('chromium') }, async t => {
  const shop = folderFor(t)
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', join(consumer, tarball), 'fastify'], { cwd: shop, shell: process.platform === 'win32', timeout: 300_000 })
  const node = async (...args: string[]): Promise<string> => (await run(process.execPath, args, { cwd: shop })).stdout
  t.equal(await node('--print', "[require('signalbox/client').connect, require('signalbox').createSignalbox].map(thing => typeof thing).join()"), 'function,function\n', 'a CommonJS program has it too')
  t.equal(await node('node_modules/signalbox/dist/launcher.js', '--version'), `${manifest.version}\n`)

  const port = await freePort()
  const lines = /^```js\n(import Fastify from 'fastify'\nimport signalbox from 'signalbox'\n.*?)^```$/ms.exec(readFileSync(join(folder, 'README.md'), 'utf8'))?.[1] ?? ''
  t.ok(lines.trim().split('\n').length <= 13, 'they are few')
  writeFileSync(join(shop, 'server.mjs'), lines.replace('8080', String(port)))
  const server = new Daemon({ bin: process.execPath, env: {} }, ['server.mjs'], shop)
  t.teardown(async () => await server.stop())
  await server.until('it listens', async () => await fetch(`http://127.0.0.1:${port}/`).then(({ ok }) => ok, () => false), 60_000)
  const page = await (await openContext(t, await openBrowser(t))).newPage()
  await page.goto(`http://127.0.0.1:${port}/`)
  const shown = "document.querySelector('output').value"
  await page.waitForFunction(`${shown} !== ''`)
  const first = await page.evaluate(shown)
  t.match(first, /^\d/)
  await page.waitForFunction(`${shown} !== ${JSON.stringify(first)}`)
})
