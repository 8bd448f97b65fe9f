// `npm run coverage`: which lines the tests that have just run reached. Only their own processes are counted: what a test
// starts from dist, the launcher and its workers, is not.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'

interface FileCoverage {
  readonly path: string
  readonly statementMap: Readonly<Record<string, { readonly start: { readonly line: number } }>>
  /** By statement, which here is a line: how often it has run. */
  readonly s: Readonly<Record<string, number>>
}

/** Prints a summary, then every line that was not reached, by file. @param tap tap's entry */
export function reportCoverage (tap: string): void {
  spawnSync(process.execPath, [tap, 'report', 'text', 'json'], { stdio: ['ignore', 'inherit', 'inherit'] })
  const files: Record<string, FileCoverage> = JSON.parse(readFileSync(join('.tap', 'report', 'coverage-final.json'), 'utf8'))
  console.log('\nnot reached:')
  for (const { path, statementMap, s } of Object.values(files)) {
    const lines = Object.entries(statementMap).filter(([statement]) => s[statement] === 0).map(([, { start }]) => start.line)
    if (lines.length > 0) console.log(`  ${relative('.', path).split(sep).join('/')}: ${ranges(lines)}`)
  }
}

/** @param lines in order. @returns as `1-3, 7` */
function ranges (lines: readonly number[]): string {
  const found: Array<[first: number, last: number]> = []
  for (const line of lines) {
    const range = found.at(-1)
    if (range !== undefined && range[1] === line - 1) range[1] = line
    else found.push([line, line])
  }
  return found.map(([first, last]) => first === last ? String(first) : `${first}-${last}`).join(', ')
}
