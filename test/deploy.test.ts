// What deploy/ holds for containers: read, and compared with the image, the settings and each other. test/container.test.ts runs the
// image itself.

import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { configFrom, loadConfig } from '../config/index.ts'
import { SETTINGS } from '../config/schema.ts'
import { certificatesFor } from './tools/certificates.ts'
import { folderFor } from './tools/daemon.ts'
import { childEnv, need, skipWithout } from './tools/find.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (name: string): string => readFileSync(join(ROOT, name), 'utf8')
const compose = parse(read('deploy/compose.yaml'), { merge: true })
const SECRET = randomBytes(32).toString('base64')
/** Seconds from the signal to the end, at most. */
const drainSeconds = (env: Record<string, string>): number => Number(env['SHUTDOWN_DELAY'] ?? 0) + Number(env['SHUTDOWN_TIMEOUT'] ?? configFrom({}).shutdownTimeout)

/** A value as Compose reads it: `${NAME:-default}`, `${NAME:?what is missing}`, `$$`. */
function interpolate (text: unknown, env: Readonly<Record<string, string>>): string {
  return String(text).replace(/\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}/g, (all, name?: string, kind?: string, rest?: string) => {
    if (name === undefined) return '$'
    const value = env[name] ?? ''
    if (value !== '' || kind === undefined) return value
    if (kind === '?') throw new Error(`${name} is missing: ${rest}`)
    return rest ?? ''
  })
}

const environmentOf = (service: string, env: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(compose.services[service].environment).map(([name, value]) => [name, interpolate(value, env)]))

/** What the image sets, by its ENV. */
const imageEnv = Object.fromEntries([...read('Containerfile').matchAll(/^ENV (.+)$/gm)].flatMap(([, line]) => [...(line as string).matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [name, value])))

t.test('every gateway gets settings that there are, and that it starts with', async t => {
  const gateways = ['gateway', 'gateway-1', 'gateway-2']
  t.same(Object.keys(compose.services).sort(), [...gateways, 'nginx', 'redis'])
  for (const name of gateways) {
    t.throws(() => environmentOf(name, {}), /AUTH_JWT_SECRET is missing: .*openssl rand -base64 32/, `${name}: without a secret Compose says what to do`)
    const { NODE_ENV, ...env } = { ...imageEnv, ...environmentOf(name, { AUTH_JWT_SECRET: SECRET }) }
    t.same(Object.keys(env).filter(setting => !Object.hasOwn(SETTINGS, setting)), [], `${name}: names`)
    const { config } = loadConfig({ env, cwd: folderFor(t) })
    t.match(config, { host: '0.0.0.0', port: 3000, dataDir: '/data/store', authJwtSecret: SECRET, redisUrl: name === 'gateway' ? '' : 'redis://redis:6379' })
    t.ok(parseInt(compose.services[name].stop_grace_period) > drainSeconds(env) + 1, `${name}: it has time to drain`)
  }
})

t.test('two gateways share a Redis that forgets nothing and is reached by nobody else, behind an nginx that they trust', async t => {
  const { redis, nginx } = compose.services
  t.match(redis.command.join(' '), /^redis-server --appendonly yes --maxmemory-policy noeviction$/)
  t.equal(redis.ports, undefined)
  t.same(redis.networks, ['inside'])
  t.equal(compose.networks.inside.internal, true)
  const addresses = ['gateway-1', 'gateway-2', 'nginx'].map(name => compose.services[name].networks.front.ipv4_address)
  t.equal(new Set(addresses).size, 3)
  for (const address of addresses) t.match(address, new RegExp(`^${compose.networks.front.ipam.config[0].subnet.replace(/0\/24$/, '').replaceAll('.', '\\.')}\\d+$`))
  for (const name of ['gateway-1', 'gateway-2']) t.equal(environmentOf(name, { AUTH_JWT_SECRET: SECRET })['TRUST_PROXY'], nginx.networks.front.ipv4_address)
  for (const [service, { profiles, depends_on: needs = {} }] of Object.entries<any>(compose.services)) {
    for (const needed of Object.keys(needs)) t.same(compose.services[needed].profiles, profiles, `${service} and ${needed} are started together`)
  }
})

t.test('the command of its nginx makes a configuration that nginx takes, for the name and the certificate that .env gives', { skip: skipWithout('nginx', 'openssl') }, async t => {
  const { nginx } = compose.services
  const name = 'live.example.com'
  const folder = folderFor(t)
  const target = (volume: string): [string, string] => interpolate(volume, { SERVER_NAME: name }).split(':') as [string, string]
  const volumes = nginx.volumes.map(target)
  t.same(volumes, [['./nginx.conf', '/signalbox/nginx.conf', 'ro'], ['./certificates', `/etc/letsencrypt/live/${name}`, 'ro']])
  // The container's folders, and what nginx needs to start there.
  for (const made of ['signalbox', 'conf.d', 'certificates', 'logs']) mkdirSync(join(folder, made))
  copyFileSync(join(ROOT, 'deploy/nginx.conf'), join(folder, 'signalbox/nginx.conf'))
  const { cert, key } = await certificatesFor(t)
  copyFileSync(cert, join(folder, 'certificates/fullchain.pem'))
  copyFileSync(key, join(folder, 'certificates/privkey.pem'))
  const [shell, flag, line] = nginx.command as [string, string, string]
  const command = interpolate(line, {}).replace(/ && exec nginx .*$/, '').replace('/signalbox/', `${folder}/signalbox/`).replace('/etc/nginx/conf.d/', `${folder}/conf.d/`)
  t.match(spawnSync(shell, [flag, command], { env: { ...process.env, SERVER_NAME: name }, encoding: 'utf8' }), { status: 0, stderr: '' })
  const made = readFileSync(join(folder, 'conf.d/default.conf'), 'utf8')
  t.notMatch(made, /127\.0\.0\.1:300|events\.example\.com/, 'nothing of the example is left')
  for (const service of ['gateway-1', 'gateway-2']) t.match(made, `server ${compose.services[service].networks.front.ipv4_address}:3000 max_fails=0;`)
  t.match(made, `ssl_certificate     ${volumes[1]?.[1]}/fullchain.pem;`)

  const whole = made.replaceAll(`/etc/letsencrypt/live/${name}`, join(folder, 'certificates')).replaceAll('/var/log/nginx', join(folder, 'logs'))
  const main = join(folder, 'nginx.conf')
  writeFileSync(main, `pid ${folder}/pid; error_log ${folder}/error.log; events {}\nhttp { ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path ${folder}/logs;`).join(' ')}\n${whole} }`)
  const tool = need('nginx')
  t.match(spawnSync(tool.bin, ['-t', '-p', folder, '-c', main], { env: childEnv(tool), encoding: 'utf8' }), { status: 0, stderr: /test is successful/ })
})

for (const name of ['kubernetes.yaml', 'kubernetes-redis.yaml']) {
  t.test(`deploy/${name}: settings that there are, probes that fit, time to drain`, async t => {
    const objects = parseAllDocuments(read(`deploy/${name}`)).map(document => {
      t.same(document.errors, [])
      return document.toJS()
    })
    const workload = objects.find(({ kind }) => kind === 'StatefulSet' || kind === 'Deployment')
    const { replicas, template: { metadata, spec } } = workload.spec
    const [container] = spec.containers
    const secrets = [...read(`deploy/${name}`).matchAll(/--from-literal=([\w-]+)=/g)].map(([, key]) => key)
    const env: Record<string, string> = { ...imageEnv }
    for (const { name, value, valueFrom } of container.env) {
      t.ok(Object.hasOwn(SETTINGS, name), name)
      if (value === undefined) t.ok(secrets.includes(valueFrom.secretKeyRef.key), `the commands at the head make ${valueFrom.secretKeyRef.key}`)
      env[name] = value ?? { AUTH_JWT_SECRET: SECRET, METRICS_TOKEN: randomBytes(16).toString('hex'), REDIS_URL: 'redis://:password@redis:6379' }[name as 'REDIS_URL']
    }
    delete env['NODE_ENV']
    const { config } = loadConfig({ env, cwd: folderFor(t) })
    t.ok(spec.terminationGracePeriodSeconds > drainSeconds(env) + 1)
    t.match(container, { livenessProbe: { httpGet: { path: '/healthz', port: 'http' } }, readinessProbe: { httpGet: { path: '/readyz', port: 'http' } }, ports: [{ name: 'http', containerPort: config.port }] })
    t.match(spec.securityContext, { runAsNonRoot: true })
    for (const { kind, spec } of objects) t.same(spec.selector.matchLabels ?? spec.selector, metadata.labels, `${kind} finds the pods`)
    if (config.redisUrl === '') {
      t.match({ kind: workload.kind, replicas }, { kind: 'StatefulSet', replicas: 1 }, 'a volume belongs to one process')
      t.same(container.volumeMounts, [{ name: 'data', mountPath: '/data' }])
      t.equal(spec.securityContext.fsGroup, 1000, 'the volume is writable')
    } else {
      t.ok(replicas > 1 && config.shutdownDelay > 0 && spec.containers[0].volumeMounts === undefined)
    }
  })
}

t.test('what is built into the image is there, and secrets and data of this machine are not among it', async t => {
  const [everything, ...kept] = read('.dockerignore').split('\n').filter(line => line !== '' && !line.startsWith('#'))
  t.equal(everything, '*')
  for (const line of kept.filter(line => line.startsWith('!'))) t.ok(existsSync(join(ROOT, line.slice(1))), line)
  t.same(kept.filter(line => /data|\.env$|node_modules|dist/.test(line)), ['**/.env'], 'after all that is kept')
  t.equal(kept.at(-1), '**/.env')
})
