// The files of page and client: once, compressed where that is asked for, and never an old one.

import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { Fingerprints } from '../../src/app/fingerprints.ts'
import { childEnv, need, skipWithout } from '../tools/find.ts'
import { startServer } from './harness.ts'

const WEB = join(import.meta.dirname, '..', '..', 'dist', 'web')
const TYPES: Readonly<Record<string, string>> = {
  'index.html': 'text/html; charset=utf-8',
  'client.js': 'application/javascript; charset=utf-8',
  'dashboard.js': 'application/javascript; charset=utf-8',
  'dashboard.css': 'text/css; charset=utf-8',
  'client.d.ts': 'text/plain; charset=utf-8'
}
const ORIGIN = 'https://app.example.com'

const server = await startServer({ profile: 'SSE', corsOrigins: [ORIGIN] })
t.teardown(async () => await server.close())

/** The answer as its bytes are. */
async function ask (path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<{ status: number, headers: IncomingHttpHeaders, bytes: Buffer }> {
  return await new Promise((resolve, reject) => {
    request(server.url + path, { method, headers }, response => {
      const pieces: Buffer[] = []
      response.on('data', piece => pieces.push(piece)).on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode as number, headers: response.headers, bytes: Buffer.concat(pieces) }))
    }).on('error', reject).end()
  })
}

const pathOf = (name: string): string => name === 'index.html' ? '/' : `/${name}`

t.test('what a client accepts decides how a file comes, and decoded it is always the file', async t => {
  const plain = (bytes: Buffer): Buffer => bytes
  for (const [name, type] of Object.entries(TYPES)) {
    const ways: Array<[accept: string | undefined, encoding: string | undefined, decode: (bytes: Buffer) => Buffer]> = [
      ['gzip, deflate, br, zstd', 'br', brotliDecompressSync], ['gzip, deflate', 'gzip', gunzipSync], ['br;q=0, gzip', 'gzip', gunzipSync],
      ['deflate', undefined, plain], ['identity', undefined, plain], [undefined, undefined, plain]
    ]
    for (const [accept, encoding, decode] of ways) {
      const { status, headers, bytes } = await ask(pathOf(name), accept === undefined ? {} : { 'accept-encoding': accept })
      t.equal(status, 200)
      t.match(headers, { 'content-type': type, 'content-encoding': encoding, 'content-length': String(bytes.length), 'cache-control': 'no-cache', etag: /^W\/"[\w-]{22}"$/, vary: 'Origin, Accept-Encoding' }, `${name} for ${accept}`)
      t.same(decode(bytes), readFileSync(join(WEB, name)), `${name} for ${accept}`)
    }
    t.ok(statSync(join(WEB, `${name}.br`)).size < statSync(join(WEB, `${name}.gz`)).size && statSync(join(WEB, `${name}.gz`)).size < statSync(join(WEB, name)).size / 2, `${name} is smaller`)
  }
  t.equal((await ask('/client.js.br')).status, 404, 'the compressed file has no address of its own')
})

t.test('a browser that has the file hears that it is the newest, in whatever compression it came', async t => {
  const { headers: { etag } } = await ask('/client.js', { 'accept-encoding': 'br' })
  for (const accept of ['br', 'gzip', 'identity']) {
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, bytes } = await ask('/client.js', { 'accept-encoding': accept, 'if-none-match': `"another", ${etag}` }, method)
      t.match({ status, length: bytes.length, headers }, { status: 304, length: 0, headers: { etag, vary: 'Origin, Accept-Encoding', 'cache-control': 'no-cache' } })
    }
  }
  t.equal((await ask('/client.js', { 'if-none-match': 'W/"another"' })).status, 200)
  t.equal((await ask('/dashboard.js', { 'if-none-match': etag as string })).status, 200)
  t.match(await ask('/client.js', { 'if-none-match': etag as string, origin: ORIGIN }), { status: 304, headers: { 'access-control-allow-origin': ORIGIN } }, 'a page of another origin may use its copy')
  t.match(await ask('/client.js', { range: 'bytes=0-9' }), { status: 200, headers: { 'accept-ranges': undefined } }, 'no parts')
})

t.test('files of the same size and time, as npm installs those of two versions, have different tags', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-files-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const date = new Date('1985-10-26T08:15:00Z')
  const tags = []
  for (const [index, text] of ['version 1', 'version 2'].entries()) {
    const path = join(folder, String(index))
    writeFileSync(path, text)
    utimesSync(path, date, date)
    tags.push(await new Fingerprints().of(path))
  }
  t.not(tags[0], tags[1])

  const fingerprints = new Fingerprints()
  const path = join(folder, 'rebuilt')
  copyFileSync(join(folder, '0'), path)
  t.equal(await fingerprints.of(path), tags[0], 'the same content, the same tag')
  writeFileSync(path, 'another build')
  t.not(await fingerprints.of(path), tags[0], 'a file that is built anew while the gateway runs')
})

t.test('curl --compressed gets client.js', { skip: skipWithout('curl') }, async t => {
  const tool = need('curl')
  const { stdout } = await promisify(execFile)(tool.bin, ['--silent', '--max-time', '10', '--compressed', '--write-out', '%{size_download}', `${server.url}/client.js`], { env: childEnv(tool) })
  const text = readFileSync(join(WEB, 'client.js'), 'utf8')
  const [, bytes] = /(\d+)$/.exec(stdout) ?? []
  t.equal(stdout.slice(0, text.length), text)
  t.ok(Number(bytes) < text.length / 2, `${bytes} bytes on the wire`)
})
