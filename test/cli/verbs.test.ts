// The command line without a gateway: help, wrong use, settings, tokens.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import t from 'tap'
import { folderFor } from '../tools/daemon.ts'
import { run } from './command.ts'

t.jobs = 3

const ROOT = join(import.meta.dirname, '..', '..')
const SECRET = 'cGxlbnR5LW9mLXJhbmRvbS1ieXRlcy1mb3ItYS10ZXN0'
/** A color of a terminal. */
// eslint-disable-next-line no-control-regex
const COLOR = /\u001b\[/

const verbsIn = (text: string): string[] => [...text.slice(text.indexOf('Verbs:')).matchAll(/^ {2}(\w+)(?: [<[].*?)? {2,}/gm)].map(([, verb]) => verb as string)
const VERBS = ['start', 'check', 'publish', 'tail', 'get', 'control', 'explain', 'switch', 'token', 'validate']

t.test('help lists the verbs, and each has help of its own, with examples', { buffered: true }, async t => {
  const help = await run(t, ['--help'])
  t.match(help, { code: 0, stderr: '' })
  t.same(verbsIn(help.stdout.split('Without a verb')[0] as string), VERBS)
  t.notMatch(help.stdout, COLOR)
  for (const verb of VERBS) {
    const { code, stdout, stderr } = await run(t, [verb, '--help'])
    t.match({ code, stderr }, { code: 0, stderr: '' }, verb)
    t.match(stdout, new RegExp(`^(Usage: )?signalbox ${verb}`), verb)
    if (verb === 'tail') t.equal((await run(t, ['help', verb])).stdout, stdout)
    t.match(stdout, /Examples:\n(.*signalbox.*\n?)+/, verb)
  }
})

t.test('the guide has a line for each verb, and each option of its help', { buffered: true }, async t => {
  const guide = readFileSync(join(ROOT, 'docs', 'cli.md'), 'utf8')
  t.same([...guide.matchAll(/^\| `(\w+)/gm)].map(([, verb]) => verb), VERBS)
  for (const verb of VERBS.slice(0, -1)) {
    const { stdout } = await run(t, [verb, '--help'])
    const line = guide.split('\n').find(line => line.startsWith(`| \`${verb}`)) as string
    const options = [...stdout.matchAll(/^ {2}(?:-h, )?(--[\w-]+)/gm)].map(([, option]) => option as string)
    for (const option of options.filter(option => !['--help', '--url', '--token'].includes(option))) t.ok(line.includes(option), `${verb} ${option}`)
  }
})

t.test('colors: on a terminal, or where FORCE_COLOR asks for them, and never under NO_COLOR', { buffered: true }, async t => {
  t.match((await run(t, ['--help'], { env: { FORCE_COLOR: '1' } })).stdout, COLOR)
  t.notMatch((await run(t, ['--help'], { env: { NO_COLOR: '1' } })).stdout, COLOR)
  t.match((await run(t, ['tial'], { env: { FORCE_COLOR: '1' } })).stderr, COLOR)
  t.notMatch((await run(t, ['tial'])).stderr, COLOR)
})

const WRONG: ReadonlyArray<readonly [args: readonly string[], says: RegExp]> = [
  [['tial'], /unknown command 'tial'\n\(Did you mean tail\?\)/],
  [['publsh', 'a.ndjson'], /Did you mean publish\?/],
  [['--chekc'], /unknown option '--chekc'/],
  [['start', 'now'], /too many arguments/],
  [['tail', '--room', 'a'], /unknown option '--room'\n\(Did you mean --rooms\?\)/],
  [['tail', '--rooms', 'a,,b'], /names with commas between them/],
  [['tail', '--rooms'], /argument missing/],
  [['get'], /missing required argument 'room'/],
  [['get', 'a', 'b'], /too many arguments/],
  [['switch', 'SOAP'], /It takes SSE or WEBSOCKET/],
  [['control'], /missing required argument 'name'/],
  [['control', 'ping', '{'], /It is not JSON: /],
  [['control', 'ping', '[1]'], /It takes a JSON object/],
  [['explain'], /give the event's id, or --idempotency-key/],
  [['explain', 'yesterday'], /It takes an event's id/],
  [['publish', '--type', 'cpu'], /--data is missing/],
  [['publish', '--data', '1'], /--type is missing/],
  [['publish', '--type', 'cpu', '--data', 'hello'], /It is not JSON: .*'"hello"'/],
  [['publish', '--type', 'cpu', '--data', '1', '--ttl', 'soon'], /30m, 1h/],
  [['publish', 'a.ndjson', '--type', 'cpu'], /not both \(--type\)/],
  [['token', '--ttl', '0'], /30m, 1h/],
  [['get', 'a', '--url', 'signalbox.example'], /--url: url must begin with http/],
  [['get', 'a', '--url', 'http://me:secret@signalbox.example'], /--url: url must have no user name/],
  [['--url=ftp://a', '--token', 'x', 'get', 'a'], /--url: url must begin with http/],
  [['--url', 'http://a'], /unknown option '--url'/],
  [['get', 'a', '--token', 'a\nb'], /--token holds characters that no token has/]
]

t.test('wrong use ends with 2, says what was wrong on stderr, and where help is', { buffered: true }, async t => {
  for (const [args, says] of WRONG) {
    const { code, stdout, stderr } = await run(t, args)
    t.match({ code, stdout }, { code: 2, stdout: '' }, args.join(' '))
    t.match(stderr, says, args.join(' '))
    t.notMatch(stderr, /^ +at /m, 'no stack trace')
  }
  t.match((await run(t, ['get', 'a'], { env: { SIGNALBOX_URL: 'ftp://a' } })).stderr, /SIGNALBOX_URL: url must begin with http/)
})

t.test('what stands behind a misspelt option is not repeated: it may be a token', { buffered: true }, async t => {
  for (const args of [['tail', '--tokn=do-not-show-me'], ['--tokn=do-not-show-me'], ['tail', 'do-not-show-me'], ['get', 'a', '--token', 'do-not\u0007show-me']]) {
    const { code, stderr } = await run(t, args)
    t.equal(code, 2)
    t.notMatch(stderr, /show-me/, args.join(' '))
  }
})

t.test('check prints what would run, and ends with 78 and every problem if settings are wrong', { buffered: true }, async t => {
  const right = await run(t, ['check'], { env: { PORT: '4321' } })
  t.match(right, { code: 0, stderr: '' })
  t.match(right.stdout, /^ *PORT +4321 +environment$/m)
  t.equal((await run(t, ['--check'], { env: { PORT: '4321' } })).stdout, right.stdout, 'its earlier name')
  const wrong = await run(t, ['check'], { env: { PORT: 'eighty', APP_PROFILE: 'FAX' } })
  t.match(wrong, { code: 78, stdout: '', stderr: /PORT [^]*APP_PROFILE|APP_PROFILE [^]*PORT/ })
  t.match(await run(t, ['start'], { env: { PORT: 'eighty' } }), { code: 78, stdout: '' })
})

t.test('token signs with the secret of the environment, of .env or of a file, and prints nothing else', { buffered: true }, async t => {
  const folder = folderFor(t)
  writeFileSync(join(folder, 'secret'), `${SECRET}\n`)
  writeFileSync(join(folder, '.env'), `AUTH_JWT_SECRET=${SECRET}\nAUTH_ISSUER=me\nAUTH_AUDIENCE=box\n`)
  const args = ['token', '--sub', 'sensor-7', '--subscribe', 'plant-*,@public', '--subscribe', 'hall', '--publish', 'plant-1', '--ttl', '30m']
  const before = Math.floor(Date.now() / 1000)
  for (const [how, options] of Object.entries({
    environment: { env: { AUTH_JWT_SECRET: `${SECRET},another-${SECRET}` } },
    file: { env: { AUTH_JWT_SECRET_FILE: join(folder, 'secret') } },
    '.env': { cwd: folder }
  })) {
    const { code, stdout, stderr } = await run(t, args, options)
    t.match({ code, stderr }, { code: 0, stderr: '' }, how)
    t.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/, how)
    t.match(decodeProtectedHeader(stdout.trim()), { alg: 'HS256' })
    const { iat = 0, exp = 0, ...claims } = decodeJwt(stdout.trim())
    t.same(claims, { sub: 'sensor-7', signalbox: { subscribe: ['plant-*', '@public', 'hall'], publish: ['plant-1'] }, ...how === '.env' ? { iss: 'me', aud: 'box' } : {} }, how)
    t.equal(exp - iat, 1800)
    t.ok(iat >= before)
  }
  t.match(await run(t, ['token'], { env: { AUTH_JWT_SECRET: SECRET } }), { code: 0, stderr: /grants nothing/ })
  t.match(await run(t, args), { code: 78, stdout: '', stderr: /AUTH_JWT_SECRET is not set/ })
  const weak = await run(t, args, { env: { AUTH_JWT_SECRET: 'do-not-show-me' } })
  t.match(weak, { code: 78, stdout: '', stderr: /AUTH_JWT_SECRET/ })
  t.notMatch(weak.stderr, 'do-not-show-me')
})
