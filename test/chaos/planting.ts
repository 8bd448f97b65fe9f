// Plants a bug in a gateway that is about to start: pieces of its source are replaced, and plant.mjs loads the result.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { transformSync } from 'esbuild'
import type { Env } from '../process/harness.ts'
import type { Bug } from './bugs.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const PLANT = new URL('plant.mjs', import.meta.url).href

/**
 * The files of a bug as they are loaded.
 * @throws Error if a piece of the source is not there exactly once, or its module was not built
 */
export function plantedFiles ({ name, edits }: Bug): Map<string, string> {
  const sources = new Map<string, string>()
  for (const { file, find, replace } of edits) {
    const source = sources.get(file) ?? readFileSync(join(ROOT, file), 'utf8')
    const times = source.split(find).length - 1
    if (times !== 1) throw new Error(`the bug ${name} cannot be planted: ${file} has ${times} times: ${find}`)
    if (!existsSync(join(ROOT, 'dist', file.replace(/\.ts$/, '.js')))) throw new Error(`the bug ${name} cannot be planted: dist has no ${file}; run npm run build`)
    sources.set(file, source.replace(find, () => replace))
  }
  return new Map([...sources].map(([file, source]) => {
    const { code } = transformSync(source, { loader: 'ts', format: 'esm', target: 'node20' })
    return [file.replace(/\.ts$/, '.js'), code.replace(/(\bfrom|\bimport\() ?"(\.[^"]*)\.ts"/g, '$1 "$2.js"')]
  }))
}

/** @returns the environment of a gateway with the bug */
export function plant (bug: Bug, folder: string, env: Env = {}): Env {
  for (const [file, code] of plantedFiles(bug)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    writeFileSync(join(folder, file), code)
  }
  writeFileSync(join(folder, 'planted.json'), JSON.stringify(bug.name))
  return { ...env, ...bug.env, CHAOS_BUG: folder, NODE_OPTIONS: `${env.NODE_OPTIONS ?? ''} --import=${PLANT}`.trim() }
}
