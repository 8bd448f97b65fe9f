// Bundles `npm run validate` into dist/validate.js, for the command `signalbox validate` of the package, which does not contain
// the bench. A copy of the sources without bench/ is built without it.

import { existsSync } from 'node:fs'
import { build } from 'esbuild'

if (existsSync('bench/validate')) {
  await build({
    entryPoints: ['bench/validate/index.ts'],
    outfile: 'dist/validate.js',
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning'
  })
}
