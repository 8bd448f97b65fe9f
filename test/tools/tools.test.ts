// The servers that other tests stand on.

import { execFile } from 'node:child_process'
import { connect } from 'node:net'
import { promisify } from 'node:util'
import t from 'tap'
import { request, until } from '../process/harness.ts'
import { openBrowser } from './chromium.ts'
import { childEnv, need } from './find.ts'
import { Nginx } from './nginx.ts'
import { redisCluster, redisSentinel, redisTls } from './redis-topologies.ts'
import { RedisServer, skipWithout } from './redis.ts'

t.test('a Redis outlives kill -9 with its data, and is not there while it is frozen', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t)
  t.equal(await redis.ping(), '+PONG')
  t.equal(await redis.cli('set', 'key', 'value'), 'OK')
  const { pid } = redis
  await redis.kill9()
  t.equal(redis.running, false)
  await t.rejects(redis.ping())
  await redis.restart()
  t.not(redis.pid, pid)
  t.equal(await redis.cli('get', 'key'), 'value')
  redis.freeze()
  await t.rejects(redis.ping(100), /no answer/)
  redis.thaw()
  t.equal(await redis.ping(), '+PONG')
  await redis.stop()
  t.match(redis.log, /ready to exit/)
  await redis.restart()
  t.equal(await redis.cli('get', 'key'), 'value', 'and a stop')
  redis.freeze()
})

t.test('a Redis with a password and users lets in who says it', { skip: skipWithout('redis') }, async t => {
  const redis = await RedisServer.start(t, { password: 'se cret/', args: ['--maxmemory', '50mb'] })
  t.equal(new URL(redis.url).password, 'se%20cret%2F')
  t.equal(await redis.cli('config', 'get', 'maxmemory'), 'maxmemory\n52428800')
  t.match(await redis.ping(), /^-NOAUTH/)
  const acl = await RedisServer.start(t, { acl: ['user default on nopass ~* &* +@all', 'user reader on >word ~* +get'] })
  t.match(await acl.cli('--user', 'reader', '--pass', 'word', 'set', 'key', 'value'), /NOPERM/)
})

t.test('a cluster serves every slot', { skip: skipWithout('redis') }, async t => {
  const nodes = await redisCluster(t)
  t.match(await nodes[1]?.cli('cluster', 'info'), /cluster_slots_ok:16384\r?\n/)
  for (const key of ['a', 'b', 'c', 'd']) t.equal(await nodes[0]?.cli('-c', 'set', key, key), 'OK')
})

t.test('a Redis with TLS answers who trusts its authority, and nobody in the clear', { skip: skipWithout('redis', 'openssl') }, async t => {
  const { server, certificates } = await redisTls(t)
  t.match(server.url, /^rediss:/)
  t.equal(await server.ping(), '+PONG')
  t.equal(await server.cli('ping'), 'PONG')
  t.match(certificates.ca, /\.pem$/)
  const { cli } = need('redis')
  await t.rejects(promisify(execFile)(cli.bin, ['-p', String(server.port), 'ping'], { env: childEnv(cli) }))
})

t.test('a sentinel puts the replica in the place of a dead primary', { skip: skipWithout('redis') }, async t => {
  const { name, primary, replica, sentinel } = await redisSentinel(t)
  const present = async (): Promise<string> => await sentinel.cli('sentinel', 'get-master-addr-by-name', name)
  t.equal(await present(), `127.0.0.1\n${primary.port}`)
  await primary.kill9()
  await until('the replica is the primary', async () => await present() === `127.0.0.1\n${replica.port}`)
  t.equal(await replica.cli('set', 'key', 'value'), 'OK')
})

t.test('nginx serves, and takes another configuration', { skip: skipWithout('nginx') }, async t => {
  const answer = (port: number, text: string): string => `server {
    listen 127.0.0.1:${port};
    location / { return 200 "${text}"; }
    location /file { root .; }
  }`
  const nginx = await Nginx.start(t, { http: port => answer(port, 'one'), files: { 'file/name.txt': 'content' } })
  // Each over a connection of its own: a reload closes those that are kept alive.
  const get = async (path: string): Promise<string> => (await request(nginx.url + path)).text
  t.equal(await get('/'), 'one')
  t.equal(await get('/file/name.txt'), 'content')
  await nginx.reload(answer(nginx.port, 'two'))
  t.equal(await get('/'), 'two')
  await t.rejects(nginx.reload('nonsense;'), /unknown directive/)
  t.equal(await get('/'), 'two', 'one that does not do changes nothing')
  t.match(nginx.accessLog, /"GET \/file\/name.txt HTTP\/1.1" 200 7/)
  await nginx.stop()
  await t.rejects(get('/'))
})

t.test('python speaks to Redis', { skip: skipWithout('python', 'redis') }, async t => {
  const redis = await RedisServer.start(t)
  const python = need('python')
  const { stdout } = await promisify(execFile)(python.bin, ['-c', 'import redis, sys; print(redis.Redis.from_url(sys.argv[1]).ping())', redis.url], { env: childEnv(python) })
  t.equal(stdout.trim(), 'True')
})

t.test('Chromium draws a page and its letters, and runs its script', { skip: skipWithout('chromium') }, async t => {
  const browser = await openBrowser(t)
  t.equal(await openBrowser(t), browser, 'one for all who ask')
  const page = await browser.newPage()
  await page.setContent('<title>of the page</title><span>iiii</span><p><span>MMMM</span>')
  t.equal(await page.title(), 'of the page')
  const widths = await page.$$eval('span', spans => spans.map(span => span.getBoundingClientRect().width))
  t.ok((widths[1] as number) > 2 * (widths[0] as number), `a font: iiii is ${widths[0]} px wide, MMMM ${widths[1]} px`)
})

t.test('no server outlives a test that is killed', { skip: process.platform === 'linux' ? skipWithout('redis', 'nginx') : 'only Linux ends them' }, async t => {
  const script = `
    import { Nginx } from ${JSON.stringify(new URL('nginx.ts', import.meta.url).href)}
    import { RedisServer } from ${JSON.stringify(new URL('redis.ts', import.meta.url).href)}
    const t = { teardown () {} }
    const redis = await RedisServer.start(t)
    const nginx = await Nginx.start(t, { http: port => \`server { listen 127.0.0.1:\${port}; }\` })
    console.log(JSON.stringify([redis.port, nginx.port]))
    process.kill(process.pid, 'SIGKILL')
  `
  const ports = await new Promise<number[]>((resolve, reject) => {
    const options = { env: { ...process.env, TMPDIR: t.testdir() } }
    execFile(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', script], options, (error, stdout) => {
      try { resolve(JSON.parse(stdout)) } catch { reject(error) }
    })
  })
  const listens = async (port: number): Promise<boolean> => await new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => { resolve(true) }).on('error', () => { resolve(false) })
    socket.on('connect', () => socket.destroy())
  })
  await until('nobody listens', async () => !(await Promise.all(ports.map(listens))).includes(true))
})
