// The settings in readable form: the listing of `check`, `.env.example`, a Markdown table, and the settings of a running
// gateway.

import { NAMES, SETTINGS, TUNABLE, toValues, type Config, type SettingName } from './schema.ts'
import { allowed, describeValue, showValue, writeText } from './setting.ts'
import type { LoadedConfig } from './index.ts'

/** Every setting with its effective value and the source of that value, grouped and aligned; secrets masked. */
export function describeConfig ({ config, sources }: Pick<LoadedConfig, 'config' | 'sources'>): string {
  const values = toValues(config)
  const rows = NAMES.map((name) => ({ name, value: describeValue(SETTINGS[name], values[name]), source: sources[name] }))
  const nameWidth = Math.max(...rows.map(({ name }) => name.length))
  // A long list of origins must not push the column of sources off the screen.
  const valueWidth = Math.min(40, Math.max(...rows.map(({ value }) => value.length)))
  const lineOf = new Map(rows.map(({ name, value, source }) =>
    [name, `  ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${source}`]))
  return bySection()
    .map(([section, names]) => [section, ...names.map((name) => lineOf.get(name))].join('\n'))
    .join('\n\n') + '\n'
}

/** Every setting for users who watch the gateway; secrets masked. */
export function showConfig (config: Config): Array<{ name: SettingName, value: string | number | boolean, meaning: string, unit?: string, tunable: boolean, isDefault: boolean }> {
  const values = toValues(config)
  return NAMES.map((name) => {
    const setting = SETTINGS[name]
    return {
      name,
      value: showValue(setting, values[name]),
      meaning: SETTINGS[name].meaning,
      ...(setting.type === 'integer' && setting.unit !== undefined ? { unit: setting.unit } : {}),
      tunable: setting.tunable === true,
      isDefault: writeText(setting, values[name]) === writeText(setting, setting.default)
    }
  })
}

/** The settings that the command `tune` accepts, by name, as JSON Schemas: enough to build a form. */
export function tunableSchemas (): Record<string, object> {
  return Object.fromEntries(TUNABLE.map((name) => [name, tunableSchema(name)]))
}

function tunableSchema (name: SettingName): object {
  const setting = SETTINGS[name]
  if (setting.type === 'choice') return { type: 'string', enum: setting.choices, description: SETTINGS[name].meaning }
  if (setting.type !== 'integer') return { description: SETTINGS[name].meaning }
  const { minimum, maximum, unit, zero } = setting
  const notes = [unit, zero && `0: ${zero}`].filter(Boolean).join('; ')
  return { type: 'integer', minimum, maximum, description: notes === '' ? SETTINGS[name].meaning : `${SETTINGS[name].meaning} (${notes})` }
}

/** The text of `.env.example`. */
export function environmentExample (): string {
  const head = [
    '# Settings of Signalbox. Copy this file to .env and uncomment the lines you change. The values here are the defaults.',
    '# The environment overrides .env. An empty value counts as not set. Put a value that contains # in quotes.',
    '# Generated from config/schema.ts: npm run --silent env > .env.example'
  ]
  const sections = bySection().map(([section, names]) => [`# ${section}`, ...names.flatMap(explain)].join('\n'))
  return [head.join('\n'), ...sections].join('\n\n') + '\n'
}

function explain (name: SettingName): string[] {
  const setting = SETTINGS[name]
  const file = setting.fromFile ? [`# Or ${name}_FILE, the path of a file that holds the value.`] : []
  return ['', `# ${SETTINGS[name].meaning}`, `# Allowed: ${allowed(setting)}.`, ...file, `#${name}=${writeText(setting, setting.default)}`]
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

function row (name: SettingName): string {
  const setting = SETTINGS[name]
  const text = writeText(setting, setting.default)
  const cells = [`\`${name}\``, text === '' ? 'empty' : `\`${text}\``, allowed(setting), SETTINGS[name].meaning]
  return `| ${cells.map(escape).join(' | ')} |`
}

function escape (text: string): string {
  return text.replace(/[|*]/g, '\\$&')
}

function bySection (): [string, SettingName[]][] {
  const sections = new Map<string, SettingName[]>()
  for (const name of NAMES) {
    const { section } = SETTINGS[name]
    sections.set(section, [...sections.get(section) ?? [], name])
  }
  return [...sections]
}
