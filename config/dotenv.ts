// Reads the file `.env` as texts by name. Node's parser does not report a line it cannot read, and may join it with the
// next name: a valid setting is then lost. Here such a line is a problem.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseEnv } from 'node:util'

export interface Dotenv {
  readonly texts: Readonly<Record<string, string>>
  readonly problems: readonly string[]
}

export function readDotenv (cwd: string): Dotenv {
  let content: string
  try {
    content = readFileSync(join(cwd, '.env'), 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT') return { texts: {}, problems: [] }
    return { texts: {}, problems: [`.env cannot be read (${String(code ?? error)}); allowed: no file, or a text file that this user may read.`] }
  }
  // PowerShell's `>` writes UTF-16: read as UTF-8, it has zero bytes between the letters.
  if (content.includes('\0')) return { texts: {}, problems: ['.env is not UTF-8 text; save it as UTF-8.'] }

  // A byte order mark, which some editors write, an indented comment and a line of blanks would all become part of the
  // name that follows.
  content = content.replace(/^\uFEFF/, '').replace(/^[ \t]+/gm, '')
  const parsed = Object.entries(parseEnv(content)).map(([name, text]) => [name.trim(), text ?? ''] as const)
  return {
    texts: Object.fromEntries(parsed.filter(([name]) => VARIABLE.test(name))),
    // Reported by number only: any word of such a line may be part of a secret.
    problems: unreadable(content).map((number) => `.env cannot be read in line ${number}; allowed: NAME=value, and comments after #.`)
  }
}

const VARIABLE = /^[\w.-]+$/
const LINE = /^\s*(#.*|(export\s+)?[\w.-]+\s*=.*)?$/
const QUOTED = /^(\s*(?:export\s+)?[\w.-]+\s*=\s*)(["'`])[^]*?\2/gm

/** The numbers of lines that are not assignments. Quoted values may span several lines. */
function unreadable (content: string): number[] {
  const flat = content.replace(QUOTED, (value, start: string) => start + '\n'.repeat(value.split('\n').length - 1))
  return flat.split(/\r?\n/).flatMap((line, index) => LINE.test(line) ? [] : index + 1)
}
