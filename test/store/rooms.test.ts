// The rooms of the store on Redis (log, intake, commands) meet only at their doors, and nothing in the stores goes round in a circle.

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, sep } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..', '..', 'src', 'store')

const DOORS: Readonly<Record<string, string>> = {
  'redis/log': 'redis/log/store.ts',
  'redis/intake': 'redis/intake/intake.ts',
  'redis/commands': 'redis/commands/handlers.ts'
}

const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).map(name => name.split(sep).join('/'))

function importsOf (file: string, { types }: { types: boolean }): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(/^(?:import|export)( type)? [^'"]*?from '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm)]
    .filter(([, type]) => types || type === undefined)
    .map(([, , from, dynamic]) => normalize(join(dirname(file), (from ?? dynamic) as string)).split(sep).join('/'))
    .filter(target => files.includes(target))
}

t.test('each room is entered by its door', async t => {
  let entered = 0
  for (const file of files) {
    for (const target of importsOf(file, { types: true })) {
      const room = dirname(target)
      const door = DOORS[room]
      if (door === undefined || dirname(file) === room) continue
      entered++
      t.equal(target, door, `${file} imports ${target}`)
    }
  }
  t.ok(entered > 5, `${entered} imports looked at`)
})

t.test('no imports of values go round in a circle', async t => {
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      t.fail([...path.slice(path.indexOf(file)), file].join(' -> '))
      return
    }
    if (done.has(file)) return
    for (const target of importsOf(file, { types: false })) visit(target, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  t.equal(done.size, files.length)
})
