import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ConfigError, EX_CONFIG, TUNABLE, accessOf, carryOutTune, loadConfig, retune, type LoadedConfig } from '../config/index.ts'
import { describeConfig, environmentExample, settingsTable, showConfig, tunableSchemas } from '../config/report.ts'
import { TYPE } from '../config/format.ts'
import { NAMES, SETTINGS } from '../config/schema.ts'
import { showValue } from '../config/setting.ts'
import { NAME } from '../src/core/event.ts'
import { folderFor } from './tools/daemon.ts'

type Texts = Record<string, string>

/** As strong as openssl makes it. */
const SECRET = 'q0N7tJm2vXe9KfRz4LwYbC1hUdPs6TgA8iOoE3xVnMk='

const ROOT = join(import.meta.dirname, '..')

/** Loads with nothing but the given variables and, in a directory of its own, the given `.env`. */
function load (t: Test, env: Texts, dotenv?: string | Buffer): LoadedConfig {
  const cwd = t.testdir()
  if (dotenv !== undefined) writeFileSync(join(cwd, '.env'), dotenv)
  return loadConfig({ env, cwd })
}

/** What loading complains about; none where it succeeds. */
function problemsOf (run: () => unknown): readonly string[] {
  try {
    run()
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems
  }
}

/** Asserts that loading complains in exactly these ways, each pattern matching one sentence. */
function refuses (t: Test, env: Texts, ...patterns: RegExp[]) {
  const problems = problemsOf(() => load(t, env))
  const name = `refuses ${JSON.stringify(env)}`
  if (t.equal(problems.length, patterns.length, `${name}: as many problems as expected`, { problems })) {
    for (const pattern of patterns) t.ok(problems.some((problem) => pattern.test(problem)), `${name}: ${pattern}`, { problems })
  }
}

t.test('without any setting the defaults of the contract hold', async (t) => {
  const { config, sources, warnings } = load(t, {})
  t.match(config, {
    appProfile: 'SSE',
    enableSse: true,
    enableWs: false,
    enableControlHttp: true,
    host: '127.0.0.1',
    port: 3000,
    monitorTickMs: 200,
    flushIntervalMs: 250,
    tickFloorMs: 100,
    maxHttpBufferSize: 2_097_152,
    maxBundleBytes: 262_144,
    keepAliveTimeout: 72,
    requestTimeout: 60,
    allowedHosts: [],
    maxEventsPerSecondPerClient: 20,
    maxQueuePerClient: 100,
    slowClientTimeout: 30,
    maxRoomSize: 50,
    maxRoomSizePerCaller: 0,
    maxRooms: 100_000,
    maxRoomsPerClient: 100,
    maxKeysPerRoom: 10_000,
    stateTtl: 86_400,
    maxClients: 0,
    maxClientsPerIp: 0,
    maxClientsPerSubject: 0,
    pingInterval: 10,
    pingTimeout: 5,
    reconnectJitter: 3,
    controlRateLimit: 5,
    publishRateLimit: 0,
    commandsModule: '',
    commandTimeout: 10,
    workers: 1,
    redisUrl: '',
    redisPrefix: 'signalbox:',
    redisChannel: 'events',
    dataDir: './data',
    durability: 'fsync',
    idempotencyTtl: 3600,
    historySize: 100_000,
    historyTtl: 300,
    historyBytes: 67_108_864,
    authJwtSecret: '',
    authJwksUrl: '',
    authIssuer: '',
    authAudience: '',
    metricsToken: '',
    allowAnonymous: false,
    shutdownDelay: 0,
    shutdownTimeout: 10,
    logLevel: 'info',
    demoFeed: false
  })
  t.strictSame([config.stateTypes, config.corsOrigins, config.trustProxy, config.anonymousSubscribe], [[], [], [], []])
  t.strictSame(Object.keys(config).length, NAMES.length + 1, 'one for each setting, and the floor of the tick as it was wished for')
  t.equal(config.wantedTickFloorMs, 100)
  t.strictSame([...new Set(Object.values(sources))], ['default'])
  t.strictSame(warnings, [])
})

t.test('the configuration is frozen, its lists too', async (t) => {
  const { config } = load(t, { STATE_TYPES: 'cpu' })
  t.throws(() => Object.assign(config, { port: 1 }), TypeError)
  t.throws(() => (config.stateTypes as string[]).push('load'), TypeError)
  t.throws(() => (config.corsOrigins as string[]).push('http://a'), TypeError)
})

t.test('the environment wins over .env, and .env over the default', async (t) => {
  const { config, sources } = load(t, { PORT: '4000' }, 'PORT=5000\nMAX_ROOM_SIZE=7\n')
  t.match(config, { port: 4000, maxRoomSize: 7, maxRooms: 100_000 })
  t.match(sources, { PORT: 'environment', MAX_ROOM_SIZE: '.env', MAX_ROOMS: 'default' })
})

t.test('an empty variable counts as not set and does not hide .env', async (t) => {
  const { config, sources } = load(t, { PORT: '', MAX_ROOM_SIZE: '  ', REDIS_URL: '', AUTH_JWT_SECRET: '' }, 'PORT=5000\nHOST=\n')
  t.match(config, { port: 5000, maxRoomSize: 50, host: '127.0.0.1' })
  t.match(sources, { PORT: '.env', MAX_ROOM_SIZE: 'default', HOST: 'default' })
})

t.test('a wrong value in .env that the environment overrides is no problem', async (t) => {
  t.equal(load(t, { PORT: '4000' }, 'PORT=abc\n').config.port, 4000)
})

t.test('the environment of this process does not leak in', async (t) => {
  process.env['MAX_ROOM_SIZE'] = '9'
  t.teardown(() => { delete process.env['MAX_ROOM_SIZE'] })
  t.equal(load(t, {}).config.maxRoomSize, 50)
  t.equal(loadConfig({ cwd: t.testdir() }).config.maxRoomSize, 9, 'unless nothing else is given')
})

t.test('all problems are reported together, one sentence each, with name, value and allowed values', async (t) => {
  const env = {
    PORT: 'abc',
    DURABILITY: 'disk',
    PING_TIMEOUT: '20',
    HOST: '0.0.0.0',
    TICK_FLOOR_MS: '300',
    ENABLE_CONTROL_HTTP: 'maybe'
  }
  const error = t.throws(() => load(t, env, 'MAX_ROOM_SIZE=-1\n')) as ConfigError
  t.type(error, ConfigError)
  t.equal(EX_CONFIG, 78)
  t.equal(error.message, error.problems.join('\n'))
  t.strictSame(error.problems, [
    'ENABLE_CONTROL_HTTP is "maybe"; allowed: true or false (also 1, 0, yes, no, on, off).',
    'PORT is "abc"; allowed: whole numbers from 0 to 65535 (0: any free port).',
    'MAX_ROOM_SIZE is "-1" in .env; allowed: whole numbers from 0 to 100000000 members (0: no limit).',
    'DURABILITY is "disk"; allowed: fsync or process.',
    'PING_TIMEOUT is 20 seconds; allowed: at most PING_INTERVAL, which is 10.',
    'TICK_FLOOR_MS is 300 ms; allowed: at most MONITOR_TICK_MS, which is 200.',
    'HOST is "0.0.0.0"; any address other than loopback (127.0.0.0/8, ::1, localhost) needs authentication: set AUTH_JWT_SECRET (openssl rand -base64 32) or AUTH_JWKS_URL. With ALLOW_ANONYMOUS=true anybody who can reach the port may publish, read and control.'
  ])
})

t.test('whole numbers are whole, bare and within their range', async (t) => {
  for (const text of ['250ms', '2MB', 'NaN', 'Infinity', '1e999', '1.5', '-1', '0x10', '1_000', 'null', 'true', '1e9', '70000']) {
    refuses(t, { MONITOR_TICK_MS: text }, /^MONITOR_TICK_MS is "/)
  }
  for (const name of ['SLOW_CLIENT_TIMEOUT', 'MAX_QUEUE_PER_CLIENT', 'PING_INTERVAL', 'HISTORY_SIZE', 'MAX_HTTP_BUFFER_SIZE', 'WORKERS']) {
    const least = name === 'PING_INTERVAL' ? { [name]: '1', PING_TIMEOUT: '1' } : { [name]: '1' }
    t.doesNotThrow(() => load(t, least), `${name} may be 1`)
    t.ok(problemsOf(() => load(t, { [name]: '0' })).some((problem) => problem.startsWith(`${name} is "0"`)), `${name} may not be 0`)
  }
  t.match(load(t, { PORT: '0', MAX_ROOM_SIZE: '0', STATE_TTL: '0', MAX_HTTP_BUFFER_SIZE: '1e6' }).config,
    { port: 0, maxRoomSize: 0, stateTtl: 0, maxHttpBufferSize: 1_000_000 })
  t.equal(load(t, { PORT: ' 65535 ' }).config.port, 65_535)
  refuses(t, { PORT: '65536' }, /^PORT is "65536"/)
})

t.test('flags and choices are read in any case, with spaces around', async (t) => {
  for (const text of ['true', 'TRUE', '1', 'yes', 'On ']) t.equal(load(t, { DEMO_FEED: text }).config.demoFeed, true, text)
  for (const text of ['false', 'False', '0', 'NO', ' off']) t.equal(load(t, { ENABLE_CONTROL_HTTP: text }).config.enableControlHttp, false, text)
  t.match(load(t, { APP_PROFILE: ' WebSocket ', LOG_LEVEL: 'SILENT', DURABILITY: 'Process' }).config,
    { appProfile: 'WEBSOCKET', logLevel: 'silent', durability: 'process' })
  refuses(t, { APP_PROFILE: 'WS', LOG_LEVEL: 'verbose' }, /^APP_PROFILE is "WS"; allowed: SSE or WEBSOCKET\.$/, /^LOG_LEVEL is "verbose"; .*silent\.$/)
})

t.test('lists are split by commas and trimmed', async (t) => {
  t.strictSame(load(t, { STATE_TYPES: ' cpu , mem/free,,cpu' }).config.stateTypes, ['cpu', 'mem/free'])
  t.strictSame(load(t, { STATE_TYPES: '*' }).config.stateTypes, ['*'])
  refuses(t, { STATE_TYPES: `cpu,has space,${'x'.repeat(129)}` }, /^STATE_TYPES holds "has space"; allowed/, /^STATE_TYPES holds "x{100}…"; allowed/)
})

t.test('a type is spelled in the settings as in events', async (t) => {
  t.equal(TYPE.source, NAME.source)
})

t.test('origins are compared as browsers send them, and * is refused with the reason', async (t) => {
  t.strictSame(load(t, { CORS_ORIGINS: 'https://App.Example.com:443,http://[::1]:8080, capacitor://localhost' }).config.corsOrigins,
    ['https://app.example.com', 'http://[::1]:8080', 'capacitor://localhost'])
  t.strictSame(load(t, { ALLOWED_HOSTS: 'Gateway.LAN:3000, *.example.com,[::1]:80,10.0.0.1, name.' }).config.allowedHosts, ['gateway.lan', '*.example.com', '[::1]', '10.0.0.1', 'name'])
  for (const text of ['*', 'http://a.example', 'a b', '*.*.example', '[1]', 'a.example/x']) refuses(t, { ALLOWED_HOSTS: text }, /^ALLOWED_HOSTS holds/)
  refuses(t, { CORS_ORIGINS: '*' }, /^CORS_ORIGINS holds "\*"; .*\* is refused, because/)
  for (const text of ['https://a.example/', 'https://a.example/x', 'https://*.example.com', 'a.example', 'null', 'https://', 'https://a?b', 'http://a:99999']) {
    refuses(t, { CORS_ORIGINS: text }, /^CORS_ORIGINS holds/)
  }
})

t.test('only named proxies are trusted', async (t) => {
  t.strictSame(load(t, { TRUST_PROXY: 'False' }).config.trustProxy, [])
  t.strictSame(load(t, { TRUST_PROXY: '10.0.0.1, 192.168.0.0/16,::1,fd00::/8' }).config.trustProxy, ['10.0.0.1', '192.168.0.0/16', '::1', 'fd00::/8'])
  for (const text of ['true', '1', '2', '0.0.0.0/0', '::/0', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/', 'loopback', 'proxy.example', 'fe80::1%eth0', '*']) {
    refuses(t, { TRUST_PROXY: text }, /^TRUST_PROXY holds .* would let anybody forge an address\.$/)
  }
})

t.test('the older switches decide the profile where they are set, and the flags agree with it afterwards', async (t) => {
  const cases: [Texts, 'SSE' | 'WEBSOCKET'][] = [
    [{}, 'SSE'],
    [{ APP_PROFILE: 'SSE' }, 'SSE'],
    [{ APP_PROFILE: 'WEBSOCKET' }, 'WEBSOCKET'],
    [{ ENABLE_WS: 'true' }, 'WEBSOCKET'],
    [{ ENABLE_WS: 'false' }, 'SSE'],
    [{ ENABLE_SSE: 'true' }, 'SSE'],
    [{ ENABLE_SSE: 'false' }, 'WEBSOCKET'],
    [{ ENABLE_SSE: 'false', ENABLE_WS: 'true' }, 'WEBSOCKET'],
    [{ APP_PROFILE: 'WEBSOCKET', ENABLE_SSE: 'false' }, 'WEBSOCKET'],
    [{ APP_PROFILE: 'SSE', ENABLE_SSE: '1', ENABLE_WS: '0' }, 'SSE']
  ]
  for (const [env, appProfile] of cases) {
    const { config } = load(t, env)
    t.match(config, { appProfile, enableSse: appProfile === 'SSE', enableWs: appProfile === 'WEBSOCKET' }, JSON.stringify(env))
  }
  t.match(load(t, { ENABLE_WS: 'true' }).sources, { APP_PROFILE: 'derived', ENABLE_SSE: 'derived', ENABLE_WS: 'environment' })
})

t.test('switches that contradict each other are refused, naming both', async (t) => {
  refuses(t, { APP_PROFILE: 'WEBSOCKET', ENABLE_SSE: 'true' }, /^APP_PROFILE=WEBSOCKET and ENABLE_SSE=true contradict/)
  refuses(t, { APP_PROFILE: 'SSE', ENABLE_WS: 'yes' }, /^APP_PROFILE=SSE and ENABLE_WS=true contradict/)
  refuses(t, { ENABLE_SSE: 'true', ENABLE_WS: 'true' }, /^ENABLE_SSE=true and ENABLE_WS=true contradict/)
  refuses(t, { ENABLE_SSE: 'false', ENABLE_WS: 'false' }, /^ENABLE_SSE=false and ENABLE_WS=false contradict/)
  refuses(t, { APP_PROFILE: 'SSE', ENABLE_SSE: 'true', ENABLE_WS: 'true' }, /^APP_PROFILE=SSE, ENABLE_SSE=true and ENABLE_WS=true contradict/)
})

t.test('a ping times out within its interval', async (t) => {
  t.match(load(t, { PING_TIMEOUT: '10' }).config, { pingTimeout: 10 })
  refuses(t, { PING_TIMEOUT: '11' }, /^PING_TIMEOUT is 11 .*PING_INTERVAL/)
  refuses(t, { PING_INTERVAL: '4' }, /^PING_TIMEOUT is 5 .*PING_INTERVAL/)
})

t.test('the floor of the tick is at most the tick of the mounted profile', async (t) => {
  const lowered = load(t, { MONITOR_TICK_MS: '40' })
  t.equal(lowered.config.tickFloorMs, 40)
  t.equal(lowered.sources.TICK_FLOOR_MS, 'derived')
  t.equal(load(t, { MONITOR_TICK_MS: '0' }).config.tickFloorMs, 0)
  t.match(load(t, { FLUSH_INTERVAL_MS: '40' }), { config: { tickFloorMs: 100 }, sources: { TICK_FLOOR_MS: 'default' } }, 'the other tick does not count')
  t.equal(load(t, { APP_PROFILE: 'WEBSOCKET', FLUSH_INTERVAL_MS: '40' }).config.tickFloorMs, 40)
  t.equal(load(t, { TICK_FLOOR_MS: '200' }).config.tickFloorMs, 200, 'equal fixes the tick')

  refuses(t, { TICK_FLOOR_MS: '201' }, /^TICK_FLOOR_MS is 201 ms; allowed: at most MONITOR_TICK_MS, which is 200\.$/)
  refuses(t, { TICK_FLOOR_MS: '100', MONITOR_TICK_MS: '0' }, /at most MONITOR_TICK_MS, which is 0/)
  refuses(t, { ENABLE_WS: 'true', TICK_FLOOR_MS: '251' }, /at most FLUSH_INTERVAL_MS, which is 250/)
  refuses(t, { ENABLE_SSE: 'true', ENABLE_WS: 'true', TICK_FLOOR_MS: '300' }, /contradict/)
})

t.test('addresses beyond loopback need authentication, or ALLOW_ANONYMOUS', async (t) => {
  for (const HOST of ['127.0.0.1', '127.8.9.10', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', 'localhost', 'LocalHost']) {
    t.equal(load(t, { HOST }).config.host, HOST)
  }
  for (const HOST of ['0.0.0.0', '::', '10.0.0.1', 'localhost.example.com', '127.1', '::ffff:10.0.0.1']) {
    refuses(t, { HOST }, /^HOST is ".*needs authentication: set AUTH_JWT_SECRET \(openssl rand -base64 32\) or AUTH_JWKS_URL\. With ALLOW_ANONYMOUS=true /)
    for (const given of [{ ALLOW_ANONYMOUS: 'true' }, { AUTH_JWT_SECRET: SECRET }, { AUTH_JWKS_URL: 'https://idp.example/jwks' }]) t.equal(load(t, { HOST, ...given }).config.host, HOST)
  }
  refuses(t, { HOST: '[::1]' }, /^HOST is "\[::1\]"; allowed: an IP address/)
  refuses(t, { HOST: 'http://a' }, /^HOST is "http:\/\/a"; allowed: an IP address/)
})

t.test('several workers need Redis, whose URL has one of three forms', async (t) => {
  refuses(t, { WORKERS: '4' }, /^WORKERS is 4; more than 1 needs REDIS_URL/)
  for (const REDIS_URL of ['redis://a', 'rediss://me:p%40ss@a:6380/2', 'redis+sentinel://:pass@a:26379,b:26379/mymaster/1', 'rediss+cluster://a:7000,b:7001', 'redis://[::1]:6379', 'redis+sentinel://a/m?sentinelPassword=x%26y&sentinelTls=true']) {
    t.equal(load(t, { WORKERS: '4', REDIS_URL, REDIS_PREFIX: '{sb}:' }).config.redisUrl, REDIS_URL)
  }
  for (const REDIS_URL of ['a:6379', 'http://a', 'redis+sentinel://a:26379', 'redis+cluster://a:x', 'redis+other://a', 'redis://a/x', 'redis+sentinel://a/m/x', 'redis://:p%zz@a', 'redis+cluster://a,b?family=6', 'redis+sentinel://a/m#x', 'redis+cluster://a,b?x', 'redis://a,b', 'redis+sentinel://a/m?x=y', 'redis+sentinel://a/m?sentinelTls=maybe']) {
    refuses(t, { REDIS_URL }, /^REDIS_URL is ".*"; allowed: redis:\/\/.*redis\+sentinel/)
  }
  refuses(t, { REDIS_URL: 'redis+cluster://a,b?family=6' }, /; here the URL of a cluster has no options/)
  t.equal(load(t, { REDIS_URL: 'redis://a?family=6' }).config.redisUrl, 'redis://a?family=6', 'one server may have options')
})

t.test('a value with quotes around it, as docker --env-file passes it on, is refused, and not shown where it is a secret', async (t) => {
  for (const [name, value] of [['DATA_DIR', '"/data"'], ['REDIS_CHANNEL', "'events'"], ['REDIS_PREFIX', '"sb:"'], ['PORT', '"3000"'], ['CORS_ORIGINS', '"https://a.example"']] as const) {
    refuses(t, { [name]: value }, new RegExp(`^${name} has quotes around its value \\(${value.replace(/[/.]/g, '\\$&')}\\); .*docker --env-file.* write it without\\.$`))
  }
  t.strictSame(problemsOf(() => load(t, { REDIS_URL: '"redis://:hunter2@a"' })).filter(problem => problem.includes('hunter2')), [])
  t.equal(load(t, { DATA_DIR: 'a "b" c' }).config.dataDir, 'a "b" c', 'inside a value they are letters like others')
  t.equal(load(t, {}, 'DATA_DIR="/data"\n').config.dataDir, '/data', 'in .env they are no part of it')
})

t.test('a secret may be given as a file', async (t) => {
  const folder = folderFor(t)
  const path = join(folder, 'redis')
  writeFileSync(path, 'redis://:hunter2@cache:6379\n')
  writeFileSync(join(folder, 'blank'), '\n')
  const loaded = load(t, { REDIS_URL_FILE: path })
  t.equal(loaded.config.redisUrl, 'redis://:hunter2@cache:6379')
  t.strictSame([loaded.sources.REDIS_URL, loaded.warnings], ['environment', []])
  const fromDotenv = load(t, {}, `REDIS_URL_FILE=${path}\n`)
  t.strictSame([fromDotenv.config.redisUrl, fromDotenv.sources.REDIS_URL, fromDotenv.warnings], ['redis://:hunter2@cache:6379', '.env', []])
  t.equal(load(t, { REDIS_URL: 'redis://other' }, `REDIS_URL_FILE=${path}\n`).config.redisUrl, 'redis://other', 'the environment overrides .env')
  refuses(t, { REDIS_URL: 'redis://a', REDIS_URL_FILE: path }, /^REDIS_URL and REDIS_URL_FILE are both set; allowed: one of them\.$/)
  refuses(t, { REDIS_URL_FILE: join(folder, 'none') }, /^REDIS_URL_FILE is ".*none", which cannot be read \(ENOENT\)/)
  refuses(t, { REDIS_URL_FILE: join(folder, 'blank') }, /^REDIS_URL_FILE is ".*blank", which is empty/)
  t.equal(load(t, { REDIS_URL_FILE: ' ' }).config.redisUrl, '')
})

t.test('a prefix of its own without a channel of its own is warned of', async (t) => {
  const env = { REDIS_URL: 'redis://a', REDIS_PREFIX: 'mine:' }
  t.match(load(t, env).warnings, [/^REDIS_PREFIX is set and REDIS_CHANNEL is not: /])
  t.strictSame(load(t, { ...env, REDIS_CHANNEL: 'mine' }).warnings, [])
  t.strictSame(load(t, { ...env, REDIS_PREFIX: '{signalbox}:' }).warnings, [], 'which a cluster needs')
  t.strictSame(load(t, { REDIS_PREFIX: 'mine:' }).warnings, [], 'nothing listens without Redis')
})

t.test('on a cluster the prefix needs a hash tag', async (t) => {
  refuses(t, { REDIS_URL: 'redis+cluster://a:7000' }, /^REDIS_PREFIX is "signalbox:"; on a cluster it needs a hash tag/)
})

t.test('settings of authentication that contradict each other are refused', async (t) => {
  for (const given of [{ AUTH_JWT_SECRET: SECRET }, { AUTH_JWKS_URL: 'https://idp.example/jwks' }]) {
    refuses(t, { ALLOW_ANONYMOUS: 'true', ...given }, /^ALLOW_ANONYMOUS=true contradicts AUTH_JWT_SECRET and AUTH_JWKS_URL/)
    t.match(load(t, { ...given, AUTH_ISSUER: 'https://idp.example', AUTH_AUDIENCE: 'signalbox', ANONYMOUS_SUBSCRIBE: '@public, news-*' }).config, { authIssuer: 'https://idp.example', authAudience: 'signalbox', anonymousSubscribe: ['@public', 'news-*'] })
  }
  t.match(load(t, { AUTH_JWT_SECRET: SECRET, AUTH_JWKS_URL: 'https://idp.example/jwks' }).config, { authJwtSecret: SECRET, authJwksUrl: 'https://idp.example/jwks' }, 'both kinds of keys may be set')
  t.strictSame([{}, { AUTH_JWT_SECRET: SECRET }, { AUTH_JWKS_URL: 'https://idp.example/jwks' }].map(given => accessOf(load(t, given).config)), ['open', 'guarded by tokens', 'guarded by tokens'])
  for (const name of ['AUTH_ISSUER', 'AUTH_AUDIENCE', 'ANONYMOUS_SUBSCRIBE']) {
    refuses(t, { [name]: 'x' }, new RegExp(`^${name} is set, but neither AUTH_JWT_SECRET nor AUTH_JWKS_URL: no token would be checked, and everybody could do everything\\.$`))
  }
})

t.test('secrets that can be guessed are refused, with how to make one', async (t) => {
  for (const weak of ['x', 'hunter2', 'a'.repeat(100), `${'ab'.repeat(20)}`, 'change-me-change-me-change-me-change-me', 'a-string-secret-at-least-256-bits-long', `${SECRET},short`, ',', ' , ']) {
    refuses(t, { AUTH_JWT_SECRET: weak }, /^AUTH_JWT_SECRET is "\*\*\*"; allowed: .*openssl rand -base64 32/)
  }
  refuses(t, { AUTH_JWT_SECRET: 'short' }, /at least 32 bytes.*: openssl rand -base64 32; here a secret of 5 bytes can be guessed/)
  t.equal(load(t, { AUTH_JWT_SECRET: `${SECRET}, ${SECRET.toLowerCase()}` }).config.authJwtSecret, `${SECRET}, ${SECRET.toLowerCase()}`, 'several, while they are changed')
  for (const weak of ['x', 'a'.repeat(40), 'with spaces in it, not a token']) refuses(t, { METRICS_TOKEN: weak }, /^METRICS_TOKEN is "\*\*\*"; allowed: .*openssl rand -hex 16/)
  refuses(t, { METRICS_TOKEN: SECRET, AUTH_JWT_SECRET: `${SECRET.toLowerCase()},${SECRET}` }, /^METRICS_TOKEN is one of AUTH_JWT_SECRET; allowed: another one/)
})

t.test('public keys come by https, or from this machine', async (t) => {
  for (const AUTH_JWKS_URL of ['https://idp.example/.well-known/jwks.json', 'http://localhost:8080/jwks', 'http://127.0.0.1/jwks', 'http://[::1]:1/jwks']) t.equal(load(t, { AUTH_JWKS_URL }).config.authJwksUrl, AUTH_JWKS_URL)
  for (const AUTH_JWKS_URL of ['http://idp.example/jwks', 'http://10.0.0.1/jwks', 'http://localhost.example.com/jwks', 'http://127.0.0.1.example.com/', 'file:///etc/jwks', 'idp.example', 'https://me:hunter2@idp.example/jwks']) {
    refuses(t, { AUTH_JWKS_URL }, /^AUTH_JWKS_URL is ".*"; allowed: a URL without user and password that begins with https:\/\//)
  }
})

t.test('used tickets are remembered for longer than tickets live', async (t) => {
  refuses(t, { AUTH_JWT_SECRET: SECRET, IDEMPOTENCY_TTL: '59' }, /^IDEMPOTENCY_TTL is 59 seconds; allowed with authentication: at least 60/)
  t.equal(load(t, { AUTH_JWT_SECRET: SECRET, IDEMPOTENCY_TTL: '60' }).config.idempotencyTtl, 60)
  t.equal(load(t, { IDEMPOTENCY_TTL: '1' }).config.idempotencyTtl, 1, 'without authentication there are no tickets')
})

t.test('patterns of what everybody may hear', async (t) => {
  t.strictSame(load(t, { AUTH_JWT_SECRET: SECRET, ANONYMOUS_SUBSCRIBE: '@public, plant-*, *, @system' }).config.anonymousSubscribe, ['@public', 'plant-*', '*', '@system'])
  for (const wrong of ['@*', '@other', 'a b', 'ü']) refuses(t, { AUTH_JWT_SECRET: SECRET, ANONYMOUS_SUBSCRIBE: wrong }, /^ANONYMOUS_SUBSCRIBE holds ".*"; allowed: names of rooms/)
})

t.test('every secret may be given as a file, and is masked wherever settings are shown', async (t) => {
  const folder = folderFor(t)
  const given = { AUTH_JWT_SECRET: SECRET, AUTH_JWKS_URL: 'https://idp.example/jwks?key=hunter2', METRICS_TOKEN: 'hunter2-hunter2-scrape' }
  const files = Object.fromEntries(Object.entries(given).map(([name, value]) => {
    writeFileSync(join(folder, name), `${value}\n`)
    return [`${name}_FILE`, join(folder, name)]
  }))
  const loaded = load(t, files)
  t.match(loaded.config, { authJwtSecret: SECRET, authJwksUrl: given.AUTH_JWKS_URL, metricsToken: given.METRICS_TOKEN })
  t.strictSame(loaded.warnings, [])
  for (const shown of [describeConfig(loaded), JSON.stringify(showConfig(loaded.config))]) {
    t.notMatch(shown, SECRET)
    t.notMatch(shown, 'hunter2')
  }
  for (const [name, value] of Object.entries(given)) refuses(t, { ...files, [name]: value }, new RegExp(`^${name} and ${name}_FILE are both set`))
  for (const name of NAMES.filter(name => SETTINGS[name].secret !== undefined)) t.ok(SETTINGS[name].fromFile, name)
})

t.test('a running gateway changes nothing of authentication', async (t) => {
  for (const name of ['AUTH_JWT_SECRET', 'AUTH_JWKS_URL', 'AUTH_ISSUER', 'AUTH_AUDIENCE', 'ANONYMOUS_SUBSCRIBE', 'METRICS_TOKEN', 'ALLOW_ANONYMOUS', 'ALLOWED_HOSTS', 'CORS_ORIGINS', 'TRUST_PROXY']) {
    t.strictSame(problemsOf(() => retune(load(t, {}).config, { [name]: 'hunter2' })), [`${name} cannot be changed while the gateway runs; change it and restart.`])
  }
})

t.test('secrets appear nowhere', async (t) => {
  const secrets: Texts[] = [
    { AUTH_JWT_SECRET: 'hunter2' },
    { AUTH_JWT_SECRET: `hunter2${SECRET}` },
    { METRICS_TOKEN: 'hunter2' },
    { METRICS_TOKEN: 'hunter2hunter2hunter2' },
    { AUTH_JWKS_URL: 'https://me:hunter2@idp.example/jwks?key=hunter2' },
    { REDIS_URL: 'redis://:hunter2@cache:6379/0' },
    { REDIS_URL: 'redis://me:hunt@hunter2@cache' },
    { REDIS_URL: 'redis://cache?password=hunter2' },
    { REDIS_URL: 'redis+sentinel://me:hunter2@a:26379,b:26379/mymaster' },
    { REDIS_URL: 'me:hunter2@cache' },
    { REDIS_URL: 'hunter2' },
    { REDIS_URL: 'redis://me:x/hunter2@cache' },
    { CORS_ORIGINS: 'https://me:hunter2@a.example' }
  ]
  for (const env of secrets) {
    // What is not refused is listed.
    let shown = ''
    const [problem = shown] = problemsOf(() => { shown = describeConfig(load(t, env)) })
    const text = problem === '' ? shown : problem
    t.match(text, '***', text)
    t.notMatch(text, 'hunter2')
  }
  const { config, sources } = load(t, {})
  const listing = describeConfig({ config: { ...config, authJwtSecret: 'hunter2', redisUrl: 'redis://me:hunter2@cache:6379/0' }, sources })
  t.notMatch(listing, 'hunter2')
  t.match(listing, /AUTH_JWT_SECRET +\*\*\* /)
  t.match(listing, /REDIS_URL +redis:\/\/\*\*\*@cache:6379\/0 /)
})

t.test('a value is shown in one line', async (t) => {
  const [problem = ''] = problemsOf(() => load(t, { PORT: `1\n2${'3'.repeat(1000)}` }))
  t.notMatch(problem, /\n/)
  t.ok(problem.length < 200)
})

t.test('names that resemble a setting are pointed out', async (t) => {
  const suspects: Texts = {
    MAX_ROM_SIZE: 'MAX_ROOM_SIZE',
    MAXROOMSIZE: 'MAX_ROOM_SIZE',
    max_room_size: 'MAX_ROOM_SIZE',
    MAX_ROOM_SIEZ: 'MAX_ROOM_SIZE',
    MAX_CLIENT_PER_IP: 'MAX_CLIENTS_PER_IP',
    CORS_ORIGIN: 'CORS_ORIGINS',
    APP_PROFIEL: 'APP_PROFILE',
    LOGLEVEL: 'LOG_LEVEL',
    REDIS_URI: 'REDIS_URL',
    MONITOR_TICKS_MS: 'MONITOR_TICK_MS',
    FLUSH_INTERVALL: 'FLUSH_INTERVAL_MS',
    SIGNALBOX_PORT: 'PORT',
    SIGNALBOX_HOST: 'HOST',
    SIGNALBOX_MAX_ROOM_SIZE: 'MAX_ROOM_SIZE'
  }
  for (const [name, meant] of Object.entries(suspects)) {
    t.strictSame(load(t, { [name]: '3' }).warnings, [`${name} is not a setting; did you mean ${meant}?`])
  }
})

t.test('a misspelt name is reported even if loading fails, because it may be the cause', async (t) => {
  const error = t.throws(() => load(t, { WORKERS: '2', REDIS_URI: 'redis://me:hunter2@cache' })) as ConfigError
  t.strictSame(error.warnings, ['REDIS_URI is not a setting; did you mean REDIS_URL?'])
})

t.test('variables of the system or of other programs cause no warning', async (t) => {
  const others = [
    'HOME', 'HOSTNAME', 'HOSTTYPE', 'HOSTS', 'PATH', 'PWD', 'OLDPWD', 'SHELL', 'SHLVL', 'TERM', 'LANG', 'LC_ALL', 'LOGNAME', 'USER', 'USERNAME', 'TZ', 'TMPDIR', 'EDITOR',
    'HISTSIZE', 'HISTFILE', 'HISTFILESIZE', 'HISTTIMEFORMAT', 'PORTS', 'SSH_PORT', 'PG_PORT', 'PGHOST', 'DB_HOST', 'DB_PORT', 'HTTP_PORT', 'HTTPS_PORT', 'VITE_PORT',
    'WORKER', 'WEB_WORKERS', 'workers', 'host', 'port', 'Host', 'NODE_ENV', 'NODE_OPTIONS', 'NODE_PATH', 'INIT_CWD', 'npm_config_loglevel', 'npm_lifecycle_event',
    'npm_package_config_port', 'AWS_PROFILE', 'AWS_REGION', 'XDG_DATA_DIRS', 'XDG_RUNTIME_DIR', 'DATABASE_URL', 'REDIS_HOST', 'REDIS_PORT', 'REDIS_DB', 'REDIS_TLS_URL',
    'REDIS_SERVICE_HOST', 'REDIS_PASSWORD', 'SIGNALBOX_SERVICE_HOST', 'SIGNALBOX_SERVICE_PORT', 'SIGNALBOX_PORT_3000_TCP_ADDR', 'KUBERNETES_PORT', 'HTTP_PROXY', 'NO_PROXY',
    'COMPUTERNAME', 'ProgramData', 'APPDATA', 'USERPROFILE', 'PATHEXT', 'OS', 'ComSpec', 'GITHUB_ACTIONS', 'GITHUB_ACTOR_ID', 'RUNNER_OS', 'CI', 'DEBUG', 'COLORTERM', 'PM2_HOME',
    'RUST_LOG', 'MAX_CONNECTIONS', 'ENABLE_HTTP', 'MAX_THREADS', 'SESSION_TIMEOUT', 'REQUEST_TIMEOUT', 'AUTH_SECRET', 'AUTH_URL', 'JWT_SECRET', '_'
  ]
  const env = Object.fromEntries(others.map((name) => [name, '1']))
  t.strictSame(load(t, { ...env, SIGNALBOX_PORT: 'tcp://10.3.2.1:3000' }).warnings, [])
})

t.test('every unknown name in .env is pointed out', async (t) => {
  const { warnings } = load(t, {}, 'NODE_ENV=production\nPROT=3000\nMAX_ROMS=3\nSIGNALBOX_DATA_DIR=/x\nwhatever=1\n')
  t.strictSame([...warnings].sort(), [
    'MAX_ROMS in .env is not a setting; did you mean MAX_ROOMS?',
    'NODE_ENV in .env is not a setting and has no effect.',
    'PROT in .env is not a setting; did you mean PORT?',
    'SIGNALBOX_DATA_DIR in .env is not a setting; did you mean DATA_DIR?',
    'whatever in .env is not a setting and has no effect.'
  ])
})

t.test('.env may have quotes, comments, export, a byte order mark and any line ends', async (t) => {
  const { config, warnings } = load(t, {}, '\uFEFFPORT=1234 # any\r\n\r\n  # note\r\n \r\nexport DATA_DIR="/a b"\r\nREDIS_CHANNEL=\'a#b\'\r\nSTATE_TYPES="cpu,\nload"\r\nMAX_ROOMS = 5\r\n')
  t.match(config, { port: 1234, dataDir: '/a b', redisChannel: 'a#b', stateTypes: ['cpu', 'load'], maxRooms: 5 })
  t.strictSame(warnings, [])
})

t.test('a line of .env that cannot be read is a problem, not a lost setting', async (t) => {
  t.strictSame(problemsOf(() => load(t, {}, 'AUTH_JWT_SECRET: hunter2\nSTATE_TYPES="cpu,\nload"\nPORT=4000\nWORKERS\n')), [
    '.env cannot be read in line 1; allowed: NAME=value, and comments after #.',
    '.env cannot be read in line 5; allowed: NAME=value, and comments after #.'
  ])
  t.match(problemsOf(() => load(t, {}, Buffer.from('PORT=4000\n', 'utf16le'))), [/not UTF-8/])
})

t.test('an unreadable .env is a problem', async (t) => {
  const cwd = t.testdir()
  mkdirSync(join(cwd, '.env'))
  t.match(problemsOf(() => loadConfig({ env: {}, cwd })), [/^\.env cannot be read \(EISDIR\)/])
})

t.test('.env.example is the generated one and complete', async (t) => {
  const text = readFileSync(join(ROOT, '.env.example'), 'utf8').replaceAll('\r\n', '\n')
  t.equal(text, environmentExample(), 'else: npm run --silent env > .env.example')
  for (const name of NAMES) t.match(text, new RegExp(`^#${name}=`, 'm'))
  t.strictSame(load(t, {}, text).config, load(t, {}).config, 'as it is, it changes nothing')
})

t.test('.env.example loads with every line uncommented, and means the defaults', async (t) => {
  const text = environmentExample().replace(/^#(?=[A-Z_]+=)/gm, '')
  const { config, warnings } = load(t, {}, text)
  t.strictSame(config, load(t, {}).config)
  t.strictSame(warnings, [])
})

t.test('the Markdown table has a row for every setting', async (t) => {
  const rows = settingsTable().split('\n').filter((line) => line.startsWith('| `'))
  t.equal(rows.length, NAMES.length)
  for (const row of rows) t.equal(row.match(/(?<!\\)\|/g)?.length, 5, row)
})

t.test('the listing shows every setting with unit and source', async (t) => {
  const listing = describeConfig(load(t, { MONITOR_TICK_MS: '40', APP_PROFILE: 'sse', STATE_TYPES: 'a,b' }, 'PORT=0\n'))
  for (const name of NAMES) t.match(listing, new RegExp(`^  ${name} `, 'm'))
  t.match(listing, /^ {2}MONITOR_TICK_MS +40 ms +environment$/m)
  t.match(listing, /^ {2}TICK_FLOOR_MS +40 ms +derived$/m)
  t.match(listing, /^ {2}ENABLE_SSE +true +derived$/m)
  t.match(listing, /^ {2}PORT +0 \(any free port\) +\.env$/m)
  t.match(listing, /^ {2}STATE_TYPES +a,b +environment$/m)
  t.match(listing, /^ {2}MAX_CLIENTS +0 \(no limit\) +default$/m)
})

t.test('the settings of a running gateway are shown with what they mean, and without secrets', async (t) => {
  const secrets = { REDIS_URL: 'redis://me:s3cret@db:6379/1?password=s3cret', STATE_TYPES: 'a,b', MAX_ROOM_SIZE: '7' }
  const shown = showConfig(load(t, secrets).config)
  t.strictSame(shown.map(({ name }) => name), NAMES)
  t.notMatch(JSON.stringify(shown), /s3cret/)
  const of = (name: string): object => shown.find((setting) => setting.name === name) ?? {}
  t.match(of('REDIS_URL'), { value: 'redis://***@db:6379/1?***', tunable: false, isDefault: false })
  t.match(of('MAX_ROOM_SIZE'), { value: 7, unit: 'members', meaning: /^Members of one named room/, tunable: true, isDefault: false })
  t.match(of('STATE_TYPES'), { value: 'a,b', isDefault: false })
  t.match(of('CORS_ORIGINS'), { value: '', isDefault: true })
  t.match(of('DEMO_FEED'), { value: false, isDefault: true })
  t.match(of('AUTH_JWT_SECRET'), { value: '', isDefault: true }, 'that there is none may be known')
  t.equal(showValue(SETTINGS.AUTH_JWT_SECRET, 's3cret'), '***')
})

t.test('settings that can be tuned are described well enough to build a form', async (t) => {
  const schemas = tunableSchemas()
  t.strictSame(Object.keys(schemas), [...TUNABLE])
  t.match(schemas.MAX_ROOM_SIZE, { type: 'integer', minimum: 0, maximum: 100_000_000, description: /^Members of one named room.* \(members; 0: no limit\)$/ })
  t.match(schemas.LOG_LEVEL, { type: 'string', enum: ['trace', 'debug'], description: String })
})

t.test('tune changes settings that may change at run time, and returns their values before and after', async (t) => {
  const { config } = load(t, {})
  const tuned = retune(config, { MAX_ROOM_SIZE: 500, LOG_LEVEL: 'DEBUG' })
  t.match(tuned.config, { maxRoomSize: 500, logLevel: 'debug', port: 3000 })
  t.strictSame(tuned.previous, { MAX_ROOM_SIZE: 50, LOG_LEVEL: 'info' })
  t.strictSame(tuned.now, { MAX_ROOM_SIZE: 500, LOG_LEVEL: 'debug' })
  t.equal(config.maxRoomSize, 50, 'the configuration before is as it was')
  t.ok(Object.isFrozen(tuned.config))
  t.strictSame(retune(config, {}), { config, previous: {}, now: {} })
  t.strictSame([...TUNABLE].sort(), [
    'CONTROL_RATE_LIMIT', 'FLUSH_INTERVAL_MS', 'LOG_LEVEL', 'MAX_BUNDLE_BYTES', 'MAX_CLIENTS', 'MAX_CLIENTS_PER_IP', 'MAX_CLIENTS_PER_SUBJECT', 'MAX_EVENTS_PER_SECOND_PER_CLIENT', 'MAX_QUEUE_PER_CLIENT',
    'MAX_ROOMS', 'MAX_ROOMS_PER_CLIENT', 'MAX_ROOM_SIZE', 'MAX_ROOM_SIZE_PER_CALLER', 'MONITOR_TICK_MS', 'PUBLISH_RATE_LIMIT', 'SLOW_CLIENT_TIMEOUT', 'STATE_BYTES', 'TICK_FLOOR_MS'
  ])
})

t.test('tune lowers the floor with the tick and reports both; tuning to the previous values restores both', async (t) => {
  const { config } = load(t, {})
  const tuned = retune(config, { MONITOR_TICK_MS: 0 })
  t.strictSame(tuned.now, { MONITOR_TICK_MS: 0, TICK_FLOOR_MS: 0 })
  t.strictSame(tuned.previous, { MONITOR_TICK_MS: 200, TICK_FLOOR_MS: 100 })
  t.strictSame(retune(tuned.config, tuned.previous).config, config)
  const up = retune(retune(config, { MONITOR_TICK_MS: 50 }).config, { MONITOR_TICK_MS: 80 })
  t.strictSame([up.previous, up.now], [{ MONITOR_TICK_MS: 50, TICK_FLOOR_MS: 50 }, { MONITOR_TICK_MS: 80, TICK_FLOOR_MS: 80 }], 'it comes back with the tick')
  t.strictSame(retune(up.config, { MONITOR_TICK_MS: 200 }).config, config, 'up to what was set, or the default')
  t.strictSame(retune(up.config, { MAX_ROOM_SIZE: 1 }).now, { MAX_ROOM_SIZE: 1 })
  const start = load(t, { MONITOR_TICK_MS: '40' }).config
  t.match(retune(start, { MONITOR_TICK_MS: 200 }).now, { TICK_FLOOR_MS: 100 }, 'also where the start has taken it down')
  t.match(retune(retune(up.config, { TICK_FLOOR_MS: 20 }).config, { MONITOR_TICK_MS: 200 }).now, { MONITOR_TICK_MS: 200, TICK_FLOOR_MS: undefined }, 'what was tuned is what is wanted')
  t.strictSame(retune(config, { FLUSH_INTERVAL_MS: 0 }).now, { FLUSH_INTERVAL_MS: 0 }, 'the tick that is not mounted takes nothing down')
})

t.test('what another process has tuned is carried out with a floor that fits, and without what is not known here', async (t) => {
  const { config } = load(t, {})
  const changes = JSON.parse('{"TICK_FLOOR_MS":230,"MAX_ROOM_SIZE":7,"MAX_ROOMS":0,"PORT":1,"NO_SUCH":2,"__proto__":3}')
  const carriedOut = carryOutTune(config, changes)
  t.match(carriedOut, { config: { tickFloorMs: 200, wantedTickFloorMs: 230, maxRoomSize: 7, maxRooms: config.maxRooms, port: 3000 } })
  t.strictSame(carriedOut.previous, { TICK_FLOOR_MS: 100, MAX_ROOM_SIZE: 50 })
  t.strictSame(carriedOut.now, { TICK_FLOOR_MS: 200, MAX_ROOM_SIZE: 7 })
  t.strictSame([...carriedOut.ignored].sort(), ['MAX_ROOMS', 'NO_SUCH', 'PORT', '__proto__'])
  t.match(carryOutTune(carriedOut.config, { MONITOR_TICK_MS: 250 }).now, { MONITOR_TICK_MS: 250, TICK_FLOOR_MS: 230 }, 'what was wanted is remembered')
  const { ignored, ...same } = carryOutTune(config, { MONITOR_TICK_MS: 0, LOG_LEVEL: 'DEBUG' })
  t.strictSame(same, retune(config, { MONITOR_TICK_MS: 0, LOG_LEVEL: 'DEBUG' }), 'all else as where it was accepted')
  t.strictSame(ignored, [])
})

t.test('tune keeps the profile that was chosen by the older switches', async (t) => {
  const { config } = load(t, { ENABLE_WS: 'true' })
  t.match(retune(config, { FLUSH_INTERVAL_MS: 50 }), { config: { appProfile: 'WEBSOCKET', enableWs: true }, now: { TICK_FLOOR_MS: 50 } })
})

t.test('tune reports all problems together and changes nothing', async (t) => {
  const { config } = load(t, {})
  const changes = JSON.parse('{"PORT":1,"MAX_ROM_SIZE":3,"MAX_ROOM_SIZE":"100","MAX_ROOMS":0,"MAX_CLIENTS":null,"MAX_QUEUE_PER_CLIENT":1.5,"TICK_FLOOR_MS":201,"__proto__":1,"LOG_LEVEL":3}')
  t.strictSame([...problemsOf(() => retune(config, changes))].sort(), [
    'LOG_LEVEL is 3; allowed: trace, debug, info, warn, error, fatal or silent.',
    'MAX_CLIENTS is null; allowed: whole numbers from 0 to 100000000 connections (0: no limit).',
    'MAX_QUEUE_PER_CLIENT is 1.5; allowed: whole numbers from 1 to 1000000 events.',
    'MAX_ROM_SIZE is not a setting; did you mean MAX_ROOM_SIZE?',
    'MAX_ROOMS is 0; allowed: whole numbers from 1 to 100000000 rooms.',
    'MAX_ROOM_SIZE is "100"; allowed: whole numbers from 0 to 100000000 members (0: no limit).',
    'PORT cannot be changed while the gateway runs; change it and restart.',
    'TICK_FLOOR_MS is 201 ms; allowed: at most MONITOR_TICK_MS, which is 200.',
    '__proto__ is not a setting and has no effect.'
  ].sort())
  t.equal(config.maxRoomSize, 50)
})
