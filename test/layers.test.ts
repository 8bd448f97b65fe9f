// The house: imports run downward only, and the core needs nothing but Node.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize, sep } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..')

/** From the ground up; siblings on one floor never meet. `config` stands beside the house. */
const FLOORS: Array<[folder: string, floor: number]> = [
  ['src/core', 1], ['src/store', 2], ['src/app', 3], ['profiles/sse', 4], ['profiles/websocket', 4], ['profiles/index.ts', 5],
  ['src/signalbox.ts', 6], ['src/process', 7], ['launcher.ts', 8]
]
/** What speaks only the wire, and the settings. They share with the house types of the core, and the page imports the client. */
const BESIDE = ['config', 'src/client', 'src/dashboard']

const ALLOWED_PACKAGES: Record<string, RegExp> = {
  'src/core': /^node:/,
  'src/store': /^(node:|classic-level$|ioredis$)/,
  // The entry for Node; the browser's has none.
  'src/client': /^ws$/,
  'src/dashboard': /^uplot$/
}

function files (folder: string): string[] {
  const path = join(root, folder)
  if (statSync(path).isFile()) return [folder]
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).map(name => join(folder, name).split(sep).join('/'))
}

function importsOf (file: string): Array<{ target: string, typeOnly: boolean }> {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(/^(?:import|export)( type)?[^'"\n]*from '([^']+)'|\bimport\('([^']+)'\)/gm)].map(([, type, from, dynamic]) => ({ target: (from ?? dynamic) as string, typeOnly: type !== undefined }))
}

const houseOf = (file: string): string | undefined => [...FLOORS.map(([folder]) => folder), ...BESIDE].find(folder => file === folder || file.startsWith(`${folder}/`))
const floorOf = (house: string): number | undefined => FLOORS.find(([folder]) => folder === house)?.[1]

t.test('every source file belongs to a floor or stands beside the house', async t => {
  for (const file of [...files('src'), ...files('profiles'), ...files('config')]) t.ok(houseOf(file), file)
})

t.test('imports run downward only', async t => {
  let checked = 0
  for (const house of [...FLOORS.map(([folder]) => folder), ...BESIDE]) {
    for (const file of files(house)) {
      for (const { target, typeOnly } of importsOf(file)) {
        checked++
        if (!target.startsWith('.')) {
          const allowed = ALLOWED_PACKAGES[house]
          if (allowed !== undefined && !allowed.test(target)) t.fail(`${file} imports ${target}`)
          continue
        }
        const other = houseOf(normalize(join(dirname(file), target)).split(sep).join('/'))
        if (other === house) continue
        const [mine, theirs] = [floorOf(house), floorOf(other ?? '')]
        const down = mine !== undefined && theirs !== undefined && theirs < mine
        const config = ['src/signalbox.ts', 'src/process', 'launcher.ts'].includes(house) && other === 'config'
        const eventType = house === 'src/client' && typeOnly && target.endsWith('core/event.ts')
        const figureTypes = house === 'src/dashboard' && typeOnly && target === '../core/figures/system.ts'
        const client = house === 'src/dashboard' && target === '../client/index.ts'
        if (!down && !config && !eventType && !figureTypes && !client) t.fail(`${file} imports ${target}, which is not below it`)
      }
    }
  }
  t.ok(checked > 100, `${checked} imports looked at`)
})
