// Validation by env-schema, from the table. Texts are converted before (setting.ts), more strictly than by Ajv's coercion,
// which would accept '0x10', '' and null as numbers. Coercion is therefore off here.

import { Ajv } from 'ajv'
import { envSchema } from 'env-schema'
import { FORMATS, type Format } from './format.ts'
import { NAMES, SETTINGS, isName, type SettingName, type Values } from './schema.ts'
import type { Setting } from './setting.ts'

/** Values by name that were read but not yet checked. */
export type Layer = Readonly<Partial<Record<SettingName, unknown>>>

export interface ValidationResult {
  /** The valid values, with defaults for absent and invalid ones. */
  readonly values: Values
  /** The invalid values by name; for lists the invalid items. */
  readonly wrong: ReadonlyMap<SettingName, readonly unknown[]>
}

const ajv = new Ajv({ allErrors: true, useDefaults: true, coerceTypes: false, addUsedSchema: false })
// An empty text is a default and means none. Empty values of an operator count as not set and are never checked here.
for (const [name, { check }] of Object.entries(FORMATS)) ajv.addFormat(name, (text) => text === '' || check(text))

const schema = {
  type: 'object',
  properties: Object.fromEntries(NAMES.map((name) => [name, schemaOf(SETTINGS[name])]))
}

/** Checks the layers merged in order; later ones win. */
export function validate (...layers: [Layer, ...Layer[]]): ValidationResult {
  try {
    return { values: check(layers), wrong: new Map() }
  } catch (error) {
    const wrong = findWrong(error, Object.assign({}, ...layers))
    // Checked again without the invalid values, so that the rules can check the others in the same run.
    const [first, ...rest] = layers
    return { values: check([without(first, wrong), ...rest.map((layer) => without(layer, wrong))]), wrong }
  }
}

// env-schema could read process.env and .env itself, but then an empty variable would hide the file's value.
function check (data: [Layer, ...Layer[]]): Values {
  return envSchema<Values>({ schema, data, env: false, ajv })
}

function findWrong (error: unknown, merged: Layer): Map<SettingName, unknown[]> {
  const wrong = new Map<SettingName, unknown[]>()
  const errors = error instanceof Error && 'errors' in error && Array.isArray(error.errors) ? error.errors : []
  for (const { instancePath } of errors as { instancePath: string }[]) {
    const [, name = '', index] = instancePath.split('/')
    if (!isName(name)) throw error
    const value = merged[name]
    const item: unknown = Array.isArray(value) && index !== undefined ? value[Number(index)] : value
    const items = wrong.get(name) ?? []
    if (!items.includes(item)) items.push(item)
    wrong.set(name, items)
  }
  if (wrong.size === 0) throw error
  return wrong
}

function without (layer: Layer, names: ReadonlyMap<string, unknown>): Layer {
  return Object.fromEntries(Object.entries(layer).filter(([name]) => !names.has(name)))
}

function schemaOf (setting: Setting): object {
  switch (setting.type) {
    case 'integer': {
      const { type, minimum, maximum } = setting
      return { type, minimum, maximum, default: setting.default }
    }
    case 'boolean': return { type: 'boolean', default: setting.default }
    case 'choice': return { type: 'string', enum: setting.choices, default: setting.default }
    case 'text': return { ...text(setting.format), default: setting.default }
    case 'list': return { type: 'array', items: text(setting.format), default: setting.default }
  }
}

function text (format: Format): object {
  return { type: 'string', format }
}
