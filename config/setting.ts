// A setting: its description in the table, how its text is read, what is allowed, and how a value is shown. Reading never
// refuses a text. A text that does not fit the type stays a text; validation reports it with all other problems.

import { FORMATS, type Format } from './format.ts'
import { namesSeveralHosts } from './redis-url.ts'

interface Common {
  readonly section: string
  /** One line for the operator. */
  readonly meaning: string
  /** Whether the command `tune` may change it while the gateway runs. */
  readonly tunable?: true
  /** The part that must never be shown: the whole value, or the credentials in a URL. */
  readonly secret?: 'whole' | 'credentials'
  /** Whether NAME_FILE may name a file that holds the value. */
  readonly fromFile?: true
}

export interface WholeNumber extends Common {
  readonly type: 'integer'
  readonly default: number
  readonly minimum: number
  readonly maximum: number
  readonly unit?: string
  /** The meaning of 0, if it is special. */
  readonly zero?: string
}

export interface Flag extends Common {
  readonly type: 'boolean'
  readonly default: boolean
}

export interface Choice<C extends string = string> extends Common {
  readonly type: 'choice'
  readonly default: C
  readonly choices: readonly C[]
}

export interface Text extends Common {
  readonly type: 'text'
  readonly default: string
  readonly format: Format
}

export interface List extends Common {
  readonly type: 'list'
  readonly default: readonly string[]
  readonly format: Format
  /** The word for the empty list. */
  readonly none?: string
}

export type Setting = WholeNumber | Flag | Choice | Text | List

type Details<S> = Omit<S, 'type' | 'section' | 'meaning'>

export function whole (section: string, meaning: string, details: Details<WholeNumber>): WholeNumber {
  return { type: 'integer', section, meaning, ...details }
}

export function flag (section: string, meaning: string, details: Details<Flag>): Flag {
  return { type: 'boolean', section, meaning, ...details }
}

export function choice<const C extends string> (section: string, meaning: string, details: Details<Choice<C>>): Choice<C> {
  return { type: 'choice', section, meaning, ...details }
}

export function text (section: string, meaning: string, details: Details<Text>): Text {
  return { type: 'text', section, meaning, ...details }
}

export function list (section: string, meaning: string, details: Details<List>): List {
  return { type: 'list', section, meaning, ...details }
}

const MASK = '***'
const LONGEST_SHOWN = 100
const NUMERAL = /^[+-]?\d+(\.\d+)?(e\+?\d+)?$/i
const FLAGS: ReadonlyMap<string, boolean> = new Map([
  ['true', true], ['1', true], ['yes', true], ['on', true],
  ['false', false], ['0', false], ['no', false], ['off', false]
])

/** Reads a text of the environment or of `.env`; undefined if it is blank, which counts as not set. */
export function readText (setting: Setting, raw: string | undefined): unknown {
  const text = raw?.trim() ?? ''
  if (text === '') return undefined
  switch (setting.type) {
    case 'integer': return NUMERAL.test(text) ? Number(text) : text
    case 'boolean': return FLAGS.get(text.toLowerCase()) ?? text
    case 'choice': return readChoice(setting, text)
    // Spaces may be part of a secret.
    case 'text': return setting.secret === 'whole' ? raw : text
    case 'list': return readList(setting, text)
  }
}

/** The choice that matches except for upper and lower case; otherwise the text unchanged. */
function readChoice (setting: Choice, text: string): string {
  return setting.choices.find((word) => word.toLowerCase() === text.toLowerCase()) ?? text
}

function readList (setting: List, text: string): string[] {
  if (setting.none === text.toLowerCase()) return []
  return [...new Set(text.split(',').map((item) => item.trim()).filter((item) => item !== '').map((item) => readItem(setting, item)))]
}

function readItem ({ format }: List, item: string): string {
  const { check, canonical } = FORMATS[format]
  return canonical && check(item) ? canonical(item) : item
}

/** Reads the value that a program gave. */
export function readGiven (setting: Setting, value: unknown): unknown {
  if (setting.type === 'choice' && typeof value === 'string') return readChoice(setting, value)
  if (setting.type === 'list' && Array.isArray(value)) return value.map((item) => typeof item === 'string' ? readItem(setting, item) : item)
  return value
}

/** The allowed values, as text to follow "allowed:". */
export function allowed (setting: Setting): string {
  switch (setting.type) {
    case 'integer': {
      const unit = setting.unit ? ` ${setting.unit}` : ''
      const zero = setting.zero ? ` (0: ${setting.zero})` : ''
      return `whole numbers from ${setting.minimum} to ${setting.maximum}${unit}${zero}`
    }
    case 'boolean': return 'true or false (also 1, 0, yes, no, on, off)'
    case 'choice': return anyOf(setting.choices)
    case 'text': return FORMATS[setting.format].allowed
    case 'list': return FORMATS[setting.format].allowed
  }
}

/** What is wrong with a refused text, to follow what is allowed; empty where there is no more to say. */
export function problem (setting: Setting, text: unknown): string {
  const words = setting.type === 'text' && typeof text === 'string' ? FORMATS[setting.format].problem?.(text.trim()) : undefined
  return words === undefined ? '' : `; here ${words}`
}

/** The value as it would be written in `.env`; secrets are not masked. */
export function writeText (setting: Setting, value: unknown): string {
  if (setting.type !== 'list' || !Array.isArray(value)) return String(value)
  return value.length === 0 ? setting.none ?? '' : value.join(',')
}

/** The value for an operator or a log: with its unit, without secrets. */
export function describeValue (setting: Setting, value: unknown): string {
  const text = writeText(setting, value)
  if (text === '') return '(empty)'
  if (setting.type === 'integer') {
    if (value === 0 && setting.zero) return `0 (${setting.zero})`
    if (setting.unit) return `${text} ${setting.unit}`
  }
  return mask(setting, text)
}

/** The value for users of a running gateway: numbers and flags unchanged, texts without secrets. */
export function showValue (setting: Setting, value: unknown): string | number | boolean {
  if (typeof value === 'number' || typeof value === 'boolean') return value
  const text = writeText(setting, value)
  return text === '' ? '' : mask(setting, text)
}

/** A refused value as a one-line JSON literal: truncated, without secrets. */
export function quote (setting: Setting, value: unknown): string {
  if (typeof value !== 'string') return shorten(setting.secret ? MASK : JSON.stringify(value) ?? String(value))
  return JSON.stringify(shorten(mask(setting, value)))
}

function mask (setting: Setting, text: string): string {
  if (setting.secret === 'whole') return MASK
  // A text that is not a URL may be the bare password: nothing of it is shown.
  if (setting.secret === 'credentials' && !(text.includes('://') && (URL.canParse(text) || namesSeveralHosts(text)))) return MASK
  if (setting.secret === 'credentials') text = text.replace(/\?.*$/s, `?${MASK}`)
  // Up to the last @: a password that was not percent-encoded may hold one itself.
  return text.replace(/(:\/\/)[^,\s]*@/g, `$1${MASK}@`)
}

function shorten (text: string): string {
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text
}

function anyOf (words: readonly string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}
