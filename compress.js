// Writes each file of dist/web a second and a third time, by gzip and by brotli, for browsers that take these. Once, when they
// are built, they may take as long as the best ratio needs. With --clear it only removes those of an earlier build.

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const web = join(import.meta.dirname, 'dist', 'web')
const names = existsSync(web) ? readdirSync(web, { recursive: true }) : []
for (const name of names.filter(name => /\.(br|gz)$/.test(name))) rmSync(join(web, name))
if (!process.argv.includes('--clear')) {
  for (const name of names.filter(name => /\.(css|d\.ts|html|js)$/.test(name))) {
    const content = readFileSync(join(web, name))
    writeFileSync(join(web, `${name}.gz`), gzipSync(content, { level: 9 }))
    writeFileSync(join(web, `${name}.br`), brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length } }))
  }
}
