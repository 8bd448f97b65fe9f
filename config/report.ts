// The table of settings as people read it: the listing of `--check`, `.env.example`, the table of the README.

import { NOT_YET } from './rules.ts'
import { NAMES, SETTINGS, toValues, type Name } from './schema.ts'
import { allowed, describeValue, writeText } from './setting.ts'
import type { Loaded } from './index.ts'

/** Every setting with its effective value and where that came from, grouped and aligned; secrets masked. */
export function describeConfig ({ config, sources }: Pick<Loaded, 'config' | 'sources'>): string {
  const values = toValues(config)
  const rows = NAMES.map((name) => ({ name, value: describeValue(SETTINGS[name], values[name]), source: sources[name] }))
  const nameWidth = Math.max(...rows.map(({ name }) => name.length))
  // One long list of origins must not push every source off the screen.
  const valueWidth = Math.min(40, Math.max(...rows.map(({ value }) => value.length)))
  const lineOf = new Map(rows.map(({ name, value, source }) =>
    [name, `  ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${source}`]))
  return bySection()
    .map(([section, names]) => [section, ...names.map((name) => lineOf.get(name))].join('\n'))
    .join('\n\n') + '\n'
}

/** The text of `.env.example`. */
export function environmentExample (): string {
  const head = [
    '# Settings of Signalbox. Copy this file to .env and uncomment what you change; what stands here is the default.',
    '# The environment wins over .env, and an empty value counts as not set. Put a value that holds a # in quotes.',
    '# Written from config/schema.ts: npm run --silent env > .env.example'
  ]
  const sections = bySection().map(([section, names]) => [`# ${section}`, ...names.flatMap(explain)].join('\n'))
  return [head.join('\n'), ...sections].join('\n\n') + '\n'
}

function explain (name: Name): string[] {
  const setting = SETTINGS[name]
  return ['', `# ${meaning(name)}`, `# Allowed: ${allowed(setting)}.`, `#${name}=${writeText(setting, setting.default)}`]
}

/** The settings as Markdown, one table a section. */
export function settingsTable (): string {
  return bySection().map(([section, names]) => [
    `### ${section}`,
    '',
    '| name | default | allowed | meaning |',
    '|---|---|---|---|',
    ...names.map(row)
  ].join('\n')).join('\n\n') + '\n'
}

function row (name: Name): string {
  const setting = SETTINGS[name]
  const text = writeText(setting, setting.default)
  const cells = [`\`${name}\``, text === '' ? 'empty' : `\`${text}\``, allowed(setting), meaning(name)]
  return `| ${cells.map(escape).join(' | ')} |`
}

function meaning (name: Name): string {
  return SETTINGS[name].meaning + (NOT_YET[name] ? ' Not supported yet.' : '')
}

function escape (text: string): string {
  return text.replace(/[|*]/g, '\\$&')
}

function bySection (): [string, Name[]][] {
  const sections = new Map<string, Name[]>()
  for (const name of NAMES) {
    const { section } = SETTINGS[name]
    sections.set(section, [...sections.get(section) ?? [], name])
  }
  return [...sections]
}
