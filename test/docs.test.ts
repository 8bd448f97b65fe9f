// The code in the pages: what a reader copies is at least valid in its language. The tests that run it are beside what it is about
// (examples, packages, proxies).

import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { transform } from 'esbuild'
import t from 'tap'
import { parseDocument } from 'yaml'
import { childEnv, find } from './tools/find.ts'

const ROOT = join(import.meta.dirname, '..')
const PAGES = [...readdirSync(ROOT), ...readdirSync(join(ROOT, 'docs')).map(name => `docs/${name}`), 'examples/README.md'].filter(name => name.endsWith('.md'))

interface Block {
  readonly page: string
  readonly line: number
  readonly language: string
  readonly text: string
}

const blocks = PAGES.flatMap(page => {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return [...text.matchAll(/^( *)```(\w*)\n([^]*?)^\1```$/gm)].map(({ index, 1: indent = '', 2: language = '', 3: code = '' }): Block => ({
    page, language, line: text.slice(0, index).split('\n').length, text: code.replace(new RegExp(`^${indent}`, 'gm'), '')
  }))
})

const CHECKS: Record<string, (text: string) => unknown> = {
  js: async text => await transform(text, { loader: 'js' }),
  ts: async text => await transform(text, { loader: 'ts' }),
  jsx: async text => await transform(text, { loader: 'jsx' }),
  // One value, or one a line.
  json: text => { try { JSON.parse(text) } catch { text.trim().split('\n').forEach(line => { JSON.parse(line) }) } },
  yaml: text => { const { errors } = parseDocument(text); if (errors[0] !== undefined) throw errors[0] },
  sh: async text => {
    const running = promisify(execFile)('bash', ['-n'])
    running.child.stdin?.end(text)
    await running
  },
  python: async text => {
    const python = find('requests')
    if ('missing' in python) return
    const running = promisify(execFile)(python.bin, ['-c', 'import ast, sys; ast.parse(sys.stdin.read())'], { env: childEnv(python) })
    running.child.stdin?.end(text)
    await running
  }
}

t.test('every block of code in the pages is valid in its language', async t => {
  for (const { page, line, language, text } of blocks) {
    const fault = await Promise.resolve().then(async () => await CHECKS[language]?.(text)).then(() => null, (error: Error) => error.message)
    t.equal(fault, null, `${page}:${line} (${language})`)
  }
  t.ok(blocks.length > 60, `${blocks.length} blocks`)
})

t.test('every block names a language that is checked, or one that has no check here', async t => {
  const others = blocks.filter(({ language }) => !(language in CHECKS)).map(({ language }) => language)
  // Of the proxies each runs in strangers/proxies.test.ts; what has no language is what goes over the wire.
  t.same([...new Set(others)].sort(), ['', 'apache', 'caddy', 'haproxy', 'html', 'mermaid'])
})
