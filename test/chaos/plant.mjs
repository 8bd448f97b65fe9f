// Preloaded into the gateway with NODE_OPTIONS: in place of some of its modules it loads those in the folder that CHAOS_BUG names
// (planting.ts makes them). Production code knows nothing of it.

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { register } from 'node:module'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'

const DIST = new URL('../../dist/', import.meta.url).href
const folder = process.env.CHAOS_BUG ?? ''

// Node runs the hooks in a thread of their own, which loads this module too.
if (isMainThread) {
  if (!existsSync(`${folder}/planted.json`)) throw new Error(`CHAOS_BUG is no folder with a planted bug: ${folder}`)
  register(import.meta.url)
}

export async function load (url, context, next) {
  if (!url.startsWith(DIST)) return await next(url, context)
  const planted = `${folder}/${fileURLToPath(url).slice(fileURLToPath(DIST).length)}`
  if (!existsSync(planted)) return await next(url, context)
  return { format: 'module', shortCircuit: true, source: await readFile(planted, 'utf8') }
}
