// The house: imports run downward only, the core needs nothing but Node, and no import goes round in a circle.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join, normalize, sep } from 'node:path'
import t from 'tap'
import ts from 'typescript'

const root = join(import.meta.dirname, '..')

/** From the ground up; those on one floor never meet. */
const FLOORS: ReadonlyMap<string, number> = new Map([
  ['src/core', 1],
  ['src/store', 2],
  ['src/app', 3],
  ['profiles/sse', 4],
  ['profiles/websocket', 4],
  ['profiles/index.ts', 5],
  ['src/signalbox.ts', 6],
  ['src/plugin', 7],
  ['src/process', 7],
  ['launcher.ts', 8]
])
/** What stands beside the house: the settings, and what speaks only the wire. */
const BESIDE = ['config', 'src/client', 'src/react', 'src/dashboard', 'src/cli']
const PARTS = [...FLOORS.keys(), ...BESIDE]

/** What a part may import from beside it, or from the house while it stands beside. */
const DOORS: ReadonlyArray<{ from: string, to: string, typesOnly?: true }> = [
  { from: 'src/signalbox.ts', to: 'config' },
  { from: 'src/plugin', to: 'config' },
  { from: 'src/process', to: 'config' },
  { from: 'launcher.ts', to: 'config' },
  { from: 'launcher.ts', to: 'src/cli/index.ts' },
  { from: 'src/store', to: 'config/redis-url.ts' },
  { from: 'src/dashboard', to: 'src/core/event.ts', typesOnly: true },
  { from: 'src/dashboard', to: 'src/core/figures', typesOnly: true },
  { from: 'src/dashboard', to: 'src/client/index.ts' },
  { from: 'src/dashboard', to: 'src/client/explanation.ts' },
  { from: 'src/cli', to: 'src/client' },
  { from: 'src/cli', to: 'config' }
]

/** Rooms of a part, and the one file of each that others import. */
const ROOMS: Readonly<Record<string, string>> = {
  'src/store/redis/log': 'store.ts',
  'src/store/redis/intake': 'intake.ts',
  'src/store/redis/commands': 'handlers.ts'
}

const PACKAGES: Readonly<Record<string, RegExp>> = {
  'src/core': /^node:/,
  'src/store': /^(node:|classic-level$|ioredis$)/,
  // The entry for Node; the browser's has none.
  'src/client': /^ws$/,
  'src/cli': /^(node:|commander$|jose$)/,
  // By the package's name: an application must not get a second client.
  'src/react': /^(react|signalbox\/client)$/,
  'src/dashboard': /^uplot(\/|$)/
}

interface Import {
  /** A file by its path from the root, or a package. */
  readonly target: string
  readonly typesOnly: boolean
}

function files (part: string): string[] {
  const path = join(root, part)
  if (!existsSync(path)) return []
  if (statSync(path).isFile()) return [part]
  return readdirSync(path, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).map(name => `${part}/${name.split(sep).join('/')}`)
}

const known = new Map<string, readonly Import[]>()

/** Everything a file imports: static, dynamic, types, and what it exports from elsewhere. */
function importsOf (file: string): readonly Import[] {
  const before = known.get(file)
  if (before !== undefined) return before
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, typesOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return
    const { text } = specifier
    found.push({ target: text.startsWith('.') ? normalize(join(dirname(file), text)).split(sep).join('/') : text, typesOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const { importClause: clause } = node
      const named = clause?.namedBindings
      const typesOnly = clause !== undefined && (clause.phaseModifier === ts.SyntaxKind.TypeKeyword ||
        (clause.name === undefined && named !== undefined && ts.isNamedImports(named) && named.elements.every(({ isTypeOnly }) => isTypeOnly)))
      add(node.moduleSpecifier, typesOnly)
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false)
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, true)
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest))
  known.set(file, found)
  return found
}

const isIn = (file: string, part: string): boolean => file === part || file.startsWith(`${part}/`)
const partOf = (file: string): string | undefined => PARTS.find(part => isIn(file, part))

t.test('every source file belongs to a floor or stands beside the house', async t => {
  for (const file of [...files('src'), ...files('profiles'), ...files('config')]) t.ok(partOf(file), file)
})

t.test('imports run downward only', async t => {
  let checked = 0
  for (const part of PARTS) {
    for (const file of files(part)) {
      for (const { target, typesOnly } of importsOf(file)) {
        checked++
        const other = partOf(target)
        if (other === part) continue
        if (existsSync(join(root, target))) {
          const down = (FLOORS.get(other ?? '') ?? Infinity) < (FLOORS.get(part) ?? 0)
          const door = DOORS.some(({ from, to, typesOnly: only }) => from === part && isIn(target, to) && (typesOnly || only !== true))
          if (!down && !door) t.fail(`${file} imports ${target}, which is not below it`)
        } else if (PACKAGES[part]?.test(target) === false) {
          t.fail(`${file} imports ${target}`)
        }
      }
    }
  }
  t.ok(checked > 500, `${checked} imports looked at`)
})

t.test('the rooms of the store on Redis meet only at their doors', async t => {
  let checked = 0
  for (const file of files('src')) {
    for (const { target } of importsOf(file)) {
      const room = dirname(target)
      const door = ROOMS[room]
      if (door === undefined || dirname(file) === room) continue
      checked++
      if (target !== `${room}/${door}`) t.fail(`${file} imports ${target}, but the door of ${room} is ${door}`)
    }
  }
  t.ok(checked > 5, `${checked} imports looked at`)
})

t.test('of the tests, only those of the bench know it', async t => {
  for (const file of files('test')) {
    if (isIn(file, 'test/bench')) continue
    for (const { target } of importsOf(file)) t.notOk(isIn(target, 'bench'), `${file} imports ${target}`)
  }
})

t.test('no imports go round in a circle, those of types included', async t => {
  const all = ['launcher.ts', 'src', 'profiles', 'config', 'bench', 'test'].flatMap(files)
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string): void => {
    const at = path.indexOf(file)
    if (at !== -1) t.fail([...path.slice(at), file].join(' -> '))
    if (at !== -1 || done.has(file)) return
    path.push(file)
    for (const { target } of importsOf(file)) if (existsSync(join(root, target)) && target.endsWith('.ts')) visit(target)
    path.pop()
    done.add(file)
  }
  for (const file of all) visit(file)
  t.equal(done.size, new Set([...all, ...done]).size)
})

t.test('the picture in docs/architecture.md has the imports that there are, and no others', t => {
  const NAMES: ReadonlyMap<string, string> = new Map(PARTS.map(part => [part === 'profiles/index.ts' ? 'profiles' : basename(part, '.ts'), part]))
  const picture = /```mermaid\n([^]*?)```/.exec(readFileSync(join(root, 'docs', 'architecture.md'), 'utf8'))?.[1] ?? ''
  const drawn = [...picture.matchAll(/^ *(\w+)(?:\[[^\]]*\])? --> (\w+)/gm)].map(([, from = '', to = '']) => `${NAMES.get(from)} -> ${NAMES.get(to)}`)
  const found = new Set<string>()
  for (const part of PARTS) {
    for (const file of files(part)) {
      for (const { target } of importsOf(file)) {
        const other = partOf(target)
        if (other !== undefined && other !== part) found.add(`${part} -> ${other}`)
      }
    }
  }
  t.same(drawn.sort(), [...found].sort())
  t.end()
})
