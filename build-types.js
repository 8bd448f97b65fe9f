// Writes dist/web/client.d.ts: the types of client.js in one file, which can stand beside it. The compiler writes a file of
// declarations for each source; this takes what the public API of the client needs of them. The rest stays private.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

const dist = join(import.meta.dirname, 'dist').replaceAll('\\', '/')
const index = `${dist}/src/client/index.d.ts`
const program = ts.createProgram([index], { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2023, types: [], noEmit: true })
const checker = program.getTypeChecker()
/** Our own declarations, by name, in the order in which they were found. */
const found = new Map()

/** Adds the declarations of a symbol, and of all that they name. */
function add (symbol) {
  const target = symbol?.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  for (const declaration of target?.declarations ?? []) {
    const isOurs = ts.isSourceFile(declaration.parent) && declaration.getSourceFile().fileName.startsWith(dist)
    const known = found.get(declaration.name?.text)
    if (!isOurs || known === declaration) continue
    if (known !== undefined) throw new Error(`the client's types have two declarations named ${declaration.name.text}`)
    found.set(declaration.name.text, declaration)
    declaration.forEachChild(visit)
  }
}

function visit (node) {
  if (ts.isIdentifier(node)) add(checker.getSymbolAtLocation(node))
  node.forEachChild(visit)
}

const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(index)))
exported.forEach(add)
const text = [...found.values()].map(declaration => declaration.getFullText().trim().replace(/^export (?:declare )?/m, 'declare '))
mkdirSync(join(dist, 'web'), { recursive: true })
writeFileSync(join(dist, 'web', 'client.d.ts'), [
  '// The types of client.js of Signalbox: keep this file beside it, under the same name.',
  ...text,
  `export { ${exported.map(({ name }) => name).sort().join(', ')} }\n`
].join('\n\n'))
