// `npm start` builds first. Where the compiler, a devDependency, is left out (NODE_ENV=production, `npm prune --omit=dev`), it
// starts what was built before.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

if (existsSync('node_modules/typescript')) {
  process.exitCode = spawnSync('npm run build', { stdio: 'inherit', shell: true }).status ?? 1
} else if (!existsSync('dist/launcher.js')) {
  console.error('Signalbox is not built, and its compiler is not installed. Run `npm ci --include=dev` once, then start again.')
  process.exitCode = 1
}
