// The image that Containerfile makes, in containers of a real Podman: as it is built, what process 1 does, what stays in the volume.
// Not tested here: the official base image (there is no registry), published ports (the containers have this machine's network),
// docker itself.

import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { bearer, SECRET, token } from './auth/harness.ts'
import { freePort, request, until } from './process/harness.ts'
import { folderFor } from './tools/daemon.ts'
import { Containers, npmCache } from './tools/containers.ts'
import { RedisServer, skipWithout } from './tools/redis.ts'

// Its build runs npm ci and the compiler.
t.setTimeout(600_000)

const ROOT = join(import.meta.dirname, '..')
const IMAGE = 'localhost/signalbox'
const skip = skipWithout('podman')
const SAFE = ['--read-only', '--cap-drop=all', '--security-opt=no-new-privileges']

interface Container {
  readonly name: string
  readonly url: string
  /** Ends it as `docker stop` does. @returns its exit code */
  stop (): Promise<number>
  logs (): Promise<string>
}

t.test('the image', { skip }, async t => {
  const podman = await Containers.start(t)
  const bare = await podman.bareImage()
  await podman.run('build', '--isolation', 'chroot', '--network', 'host', '--pull=never', '--layers=false', '--format', 'docker', '--volume', `${npmCache()}:/root/.npm`,
    '--build-arg', `NODE=${bare}`, '--tag', IMAGE, '--file', join(ROOT, 'Containerfile'), ROOT)

  let number = 0
  /** Starts a container on a port of its own, and does not wait. */
  const start = async (t: Test, env: Record<string, string | number>, ...args: string[]): Promise<Container> => {
    const name = `gateway-${++number}`
    const port = await freePort()
    const settings = Object.entries({ PORT: port, AUTH_JWT_SECRET: SECRET, ...env }).flatMap(([name, value]) => ['--env', `${name}=${value}`])
    await podman.run('run', '--detach', '--name', name, ...SAFE, ...settings, ...args, IMAGE)
    t.teardown(async () => await podman.run('rm', '--force', '--time', '0', name))
    return {
      name,
      url: `http://127.0.0.1:${port}`,
      stop: async () => {
        await podman.run('stop', '--time', '20', name)
        return Number(await podman.run('inspect', '--format', '{{.State.ExitCode}}', name))
      },
      logs: async () => await podman.run('logs', name)
    }
  }
  const isReady = ({ url }: Container) => async (): Promise<boolean> => (await request(`${url}/readyz`).catch(() => null))?.status === 200

  await t.test('holds what runs and nothing else', async t => {
    const config = JSON.parse(await podman.run('inspect', '--format', '{{json .Config}}', IMAGE))
    t.match(config, {
      User: '1000:1000',
      Volumes: { '/data': {} },
      ExposedPorts: { '3000/tcp': {} },
      Entrypoint: ['node', '--enable-source-maps', '/opt/signalbox/dist/launcher.js']
    })
    const { stdout } = await podman.toEnd('--entrypoint', 'node', IMAGE, '--print', `JSON.stringify({
      names: fs.readdirSync('/opt/signalbox').sort(),
      superfluous: ['typescript', 'esbuild', 'tap', 'tsx', 'eslint'].filter(name => fs.existsSync('/opt/signalbox/node_modules/' + name)),
      owners: ['/', '/opt/signalbox', '/opt/signalbox/dist/launcher.js', '/data'].map(path => fs.statSync(path).uid)
    })`)
    const { names, superfluous, owners } = JSON.parse(stdout)
    t.same(names, ['LICENSE', 'deploy', 'dist', 'node_modules', 'package.json'])
    t.same(superfluous, [], 'without what only the build needs')
    t.same(owners, [0, 0, 0, 1000], 'only the volume is its own')
    const [whole, base] = (await podman.run('inspect', '--format', '{{.Size}}', IMAGE, bare)).split('\n').map(Number) as [number, number]
    t.comment(`${Math.round((whole - base) / 1e6)} MB on top of the base image`)
    t.ok(whole - base < 80e6)
  })

  await t.test('without authentication the start is refused, with what to set', async t => {
    const { code, stdout, stderr } = await podman.toEnd(IMAGE)
    t.match({ code, stdout, stderr }, { code: 78, stdout: '', stderr: /^HOST is "0\.0\.0\.0".*set AUTH_JWT_SECRET \(openssl rand -base64 32\).*ALLOW_ANONYMOUS=true/ })
  })

  await t.test('the gateway is process 1, is healthy, drains by SIGTERM, and its volume keeps what was acknowledged', async t => {
    const first = await start(t, {}, '--volume', 'data:/data')
    await until('it is ready', isReady(first))
    const [self, log] = JSON.parse(await podman.run('exec', first.name, 'node', '--print', "JSON.stringify([fs.readlinkSync('/proc/1/exe'), fs.readFileSync('/proc/1/status', 'utf8')])"))
    t.equal(self, '/usr/local/bin/node')
    t.match(log, /^Uid:\t1000\t1000\t1000\t1000$/m)
    t.match(log, /^CapEff:\t0+$/m)
    t.equal((await podman.try('healthcheck', 'run', first.name)).code, 0, 'healthy')
    const headers = bearer(token({ subscribe: ['a'], publish: ['a'] }))
    t.equal((await request(`${first.url}/api/events`, { headers, json: { type: 'cpu', room: 'a', key: 'k', data: 42 } })).status, 202)
    t.equal(await first.stop(), 0)
    t.match(await first.logs(), /"pid":1.*"signal":"SIGTERM".*"draining".*drained, exiting/s)

    const second = await start(t, { APP_PROFILE: 'WEBSOCKET' }, '--volume', 'data:/data')
    await until('the next one is ready', isReady(second))
    t.match(await second.logs(), /embedded store in \/data\/store: 0 facts and 1 value /)
    t.equal(await second.stop(), 0)
  })

  await t.test('a signal that comes while it starts ends it', async t => {
    const folder = folderFor(t)
    chmodSync(folder, 0o755)
    writeFileSync(join(folder, 'slow.mjs'), "console.log('starting'); await new Promise(resolve => setTimeout(resolve, 3_600_000)); export default {}")
    const container = await start(t, { COMMANDS_MODULE: '/commands/slow.mjs' }, '--volume', `${folder}:/commands:ro`)
    await until('it loads its commands', async () => (await container.logs()).includes('starting'))
    t.equal(await container.stop(), 143, 'it was not killed when the patience was over')
  })

  await t.test('the health check fails where no gateway answers', async t => {
    const { code, stderr } = await podman.toEnd('--env', `PORT=${await freePort()}`, '--entrypoint', 'node', IMAGE, 'deploy/health.js')
    t.match({ code, stderr }, { code: 1, stderr: /ECONNREFUSED/ })
  })

  await t.test('several workers: a dead one is replaced and leaves no zombie, and all end by one SIGTERM', { skip: skipWithout('redis') }, async t => {
    const redis = await RedisServer.start(t)
    const container = await start(t, { WORKERS: 2, REDIS_URL: redis.url })
    const processes = async (): Promise<Array<{ pid: number, state: string }>> => JSON.parse(await podman.run('exec', container.name, 'node', '--print', `
      JSON.stringify(fs.readdirSync('/proc').filter(name => /^\\d+$/.test(name) && Number(name) !== process.pid).flatMap(name => {
        try { return [{ pid: Number(name), state: /\\) (\\w)/.exec(fs.readFileSync('/proc/' + name + '/stat', 'utf8'))[1] }] } catch { return [] }
      }))`))
    // A line for each address.
    const isStarted = (workers: number) => async (): Promise<boolean> => new Set((await container.logs()).match(/\(pid \d+\) listens at/g)).size === workers
    await until('both workers listen', isStarted(2))
    const worker = (await processes()).find(({ pid }) => pid !== 1)?.pid as number
    await podman.run('exec', container.name, 'node', '--eval', `process.kill(${worker}, 'SIGKILL')`)
    await until('another one listens', isStarted(3))
    const left = await processes()
    t.equal(left.length, 3, 'a primary and two workers')
    t.same(left.filter(({ pid, state }) => state === 'Z' || pid === worker), [], 'nothing is left of the dead one')
    t.equal(await container.stop(), 0)
  })
})
