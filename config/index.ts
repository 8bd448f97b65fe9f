// Loads the settings: the environment overrides `.env`, which overrides the defaults. Settings are checked one by one
// (validate.ts) and together (rules.ts). All problems are reported together, so that one correction is enough.

import { readDotenv } from './dotenv.ts'
import { isFileName, readFiles } from './secret-file.ts'
import { PROFILE_SETTINGS, chooseProfile, checkRules, tickName } from './rules.ts'
import { NAMES, SETTINGS, TUNABLE, camelCase, isName, toConfig, toValues, type Config, type ProfileName, type SettingName, type Values } from './schema.ts'
import { allowed, problem, quote, readGiven, readText } from './setting.ts'
import { guess, guessAmong, suspect } from './spelling.ts'
import { validate, type Layer } from './validate.ts'

export { TUNABLE } from './schema.ts'
export type { Config, ProfileName } from './schema.ts'

/** Exit code of a process with an invalid configuration, as in sysexits.h. */
export const EX_CONFIG = 78

/** The origin of a value. `derived`: not set, and determined by other settings. */
type SettingSource = 'environment' | '.env' | 'default' | 'derived'

export interface LoadedConfig {
  /** Deeply frozen. */
  readonly config: Config
  readonly sources: Readonly<Record<SettingName, SettingSource>>
  /** Probable mistakes that do not prevent a start: misspelt names. */
  readonly warnings: readonly string[]
}

/** All problems, one sentence per line, without secrets. */
export class ConfigError extends Error {
  readonly problems: readonly string[]
  /** Misspelt names, which may be the cause. */
  readonly warnings: readonly string[]

  constructor (problems: readonly string[], warnings: readonly string[] = []) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = Object.freeze([...problems])
    this.warnings = Object.freeze([...warnings])
  }
}

/** The prefix of the guide for a cluster: it says nothing about another deployment. */
const CLUSTER_PREFIX = '{signalbox}:'

/** Whether everybody may do everything, as the log says it at the start. */
export const accessOf = ({ authJwtSecret, authJwksUrl }: Pick<Config, 'authJwtSecret' | 'authJwksUrl'>): 'open' | 'guarded by tokens' =>
  authJwtSecret === '' && authJwksUrl === '' ? 'open' : 'guarded by tokens'

type Texts = Readonly<Record<string, string | undefined>>

/** Loads and checks the settings. @throws ConfigError with all problems */
export function loadConfig ({ env = process.env, cwd = process.cwd() }: { env?: Texts, cwd?: string } = {}): LoadedConfig {
  const dotenv = readDotenv(cwd)
  const fromEnvironment = readFiles(env, cwd)
  const fromDotenv = readFiles(dotenv.texts, cwd)
  const problems = [...dotenv.problems, ...fromEnvironment.problems, ...fromDotenv.problems]
  const quoted = NAMES.filter((name) => isQuoted(env[name]))
  for (const name of quoted) {
    const shown = SETTINGS[name].secret ? '' : ` (${env[name]?.trim()})`
    problems.push(`${name} has quotes around its value${shown}; they would be part of it, as docker --env-file and systemd's Environment="…" inside quotes pass them on: write it without.`)
  }
  const environment = without(readLayer(fromEnvironment.texts), quoted)
  const file = readLayer(fromDotenv.texts)
  const sourceOf = (name: SettingName): SettingSource => name in environment ? 'environment' : name in file ? '.env' : 'default'
  const place = (name: SettingName): string => sourceOf(name) === '.env' ? ' in .env' : ''

  const { values, wrong } = validate(file, environment)
  for (const name of NAMES) {
    const setting = SETTINGS[name]
    // For a list the invalid items are shown; any other value is shown as it was written.
    const written = (name in environment ? fromEnvironment : fromDotenv).texts[name]
    for (const item of wrong.get(name) ?? []) {
      const what = setting.type === 'list' ? `holds ${quote(setting, item)}` : `is ${quote(setting, written)}`
      problems.push(`${name} ${what}${place(name)}; allowed: ${allowed(setting)}${problem(setting, written)}.`)
    }
  }

  const isSet = (name: SettingName): boolean => sourceOf(name) !== 'default'
  const derivation = derive(values, isSet, (name) => wrong.has(name))
  problems.push(...derivation.problems)
  const warnings = [...warnAbout(env), ...warnAboutFile(dotenv.texts)]
  if (isSet('REDIS_PREFIX') && !isSet('REDIS_CHANNEL') && values.REDIS_URL !== '' && values.REDIS_PREFIX !== CLUSTER_PREFIX) {
    warnings.push('REDIS_PREFIX is set and REDIS_CHANNEL is not: a channel belongs to the whole Redis, whatever prefix or database. Another deployment there that listens to "events" too takes in the same messages.')
  }
  if (problems.length > 0) throw new ConfigError(problems, warnings)

  const sources = Object.fromEntries(NAMES.map((name) => [name, derivation.derived.includes(name) ? 'derived' : sourceOf(name)]))
  return Object.freeze({
    config: toConfig(derivation.values, values.TICK_FLOOR_MS),
    sources: Object.freeze(sources as Record<SettingName, SettingSource>),
    warnings: Object.freeze(warnings)
  })
}

/**
 * The configuration after the changes of the command `tune`, given by name with JSON values. `previous` and `now` hold the
 * values that changed. That includes TICK_FLOOR_MS if it followed the longest tick down, or rose again towards the value
 * that was set. `retune(config, previous)` restores the values before the change.
 * @throws ConfigError with all problems
 */
export function retune (config: Config, changes: Readonly<Record<string, unknown>>): Tuned {
  const problems: string[] = []
  const before = toValues(config)
  const layer: Partial<Record<SettingName, unknown>> = {}
  for (const [name, value] of Object.entries(changes)) {
    if (!isName(name)) problems.push(notASetting(name, guess(name)))
    else if (!SETTINGS[name].tunable) problems.push(`${name} cannot be changed while the gateway runs; change it and restart.`)
    else layer[name] = readGiven(SETTINGS[name], value)
  }

  const { values, wrong } = validate({ ...before, TICK_FLOOR_MS: config.wantedTickFloorMs }, layer)
  for (const name of wrong.keys()) problems.push(`${name} is ${quote(SETTINGS[name], changes[name])}; allowed: ${allowed(SETTINGS[name])}.`)

  const after = 'TICK_FLOOR_MS' in layer || wrong.has('TICK_FLOOR_MS') ? values : lowerFloor(values)
  problems.push(...checkRules(after, (name) => wrong.has(name)))
  if (problems.length > 0) throw new ConfigError(problems)

  return tuned(before, after, NAMES.filter((name) => name in layer), values.TICK_FLOOR_MS)
}

/**
 * The configuration after changes by `tune` that another process of the deployment has accepted. They are not judged again: that
 * process may have the other profile, and a floor that fits its longest tick. Here the floor is taken down as far as it must be.
 * `ignored` names what this process cannot set: the other one may run another version.
 */
export function carryOutTune (config: Config, changes: Readonly<Record<string, unknown>>): Tuned & { readonly ignored: readonly string[] } {
  const before = toValues(config)
  const wanted = { ...before, TICK_FLOOR_MS: config.wantedTickFloorMs }
  const known = TUNABLE.filter((name) => Object.hasOwn(changes, name))
  const layer = Object.fromEntries(known.map((name) => [name, readGiven(SETTINGS[name], changes[name])]))
  const { wrong } = validate(wanted, layer)
  const given = known.filter((name) => !wrong.has(name))
  const { values } = validate(wanted, pick(layer as Values, given))
  const after = lowerFloor(values)
  return {
    ...tuned(before, after, given, values.TICK_FLOOR_MS),
    ignored: Object.keys(changes).filter((name) => !given.some((other) => other === name))
  }
}

interface Tuned {
  readonly config: Config
  readonly previous: Partial<Values>
  readonly now: Partial<Values>
}

/** @param given the settings that were to change: they are named though they had the value already */
function tuned (before: Values, after: Values, given: readonly SettingName[], wantedTickFloorMs: number): Tuned {
  const changed = NAMES.filter((name) => given.includes(name) || after[name] !== before[name])
  return { config: toConfig(after, wantedTickFloorMs), previous: pick(before, changed), now: pick(after, changed) }
}

/**
 * The configuration of a program that runs a gateway itself, from settings by their names in camelCase. Absent ones have
 * their defaults.
 * @param others further names that the program knows: what a misspelt one may have meant
 * @throws ConfigError with all problems, which name settings as the program does
 */
export function configFrom (options: Partial<Config>, others: readonly string[] = []): Config {
  const problems: string[] = []
  const layer: Partial<Record<SettingName, unknown>> = {}
  for (const [key, value] of Object.entries(options)) {
    const name = NAMES.find((candidate) => camelCase(candidate) === key)
    if (name === undefined) problems.push(notAnOption(key, others))
    else if (value !== undefined) layer[name] = readGiven(SETTINGS[name], value)
  }
  const { values, wrong } = validate({}, layer)
  for (const name of wrong.keys()) problems.push(`${name} is ${quote(SETTINGS[name], layer[name])}; allowed: ${allowed(SETTINGS[name])}${problem(SETTINGS[name], layer[name])}.`)
  const derivation = derive(values, (name) => name in layer, (name) => wrong.has(name))
  problems.push(...derivation.problems)
  if (problems.length > 0) throw new ConfigError(problems.map((text) => text.replace(/\b[A-Z]+(?:_[A-Z]+)*\b/g, (word) => isName(word) ? camelCase(word) : word)))
  return toConfig(derivation.values, values.TICK_FLOOR_MS)
}

const valuesOf = (profile: ProfileName): Pick<Values, (typeof PROFILE_SETTINGS)[number]> =>
  ({ APP_PROFILE: profile, ENABLE_SSE: profile === 'SSE', ENABLE_WS: profile === 'WEBSOCKET' })

/** The configuration with another profile, whose longest tick then bounds TICK_FLOOR_MS. */
export function withProfile (config: Config, profile: ProfileName): Config {
  const values = { ...toValues(config), ...valuesOf(profile), TICK_FLOOR_MS: config.wantedTickFloorMs }
  return toConfig(lowerFloor(values), config.wantedTickFloorMs)
}

/** The longest tick of the mounted profile, ms. */
export function tickMsOf (config: Config): number {
  const values = toValues(config)
  return values[tickName(values)]
}

/** The settings with those of `changed` that the command `tune` may change. */
export function adoptTunable (config: Config, changed: Config): Config {
  const values = { ...toValues(config), ...pick(toValues(changed), TUNABLE) }
  return toConfig(values, changed.wantedTickFloorMs)
}

interface Derivation {
  readonly values: Values
  readonly derived: readonly SettingName[]
  readonly problems: readonly string[]
}

/** Derives values from other settings, then checks how all of them agree. */
function derive (values: Values, isSet: (name: SettingName) => boolean, isWrong: (name: SettingName) => boolean): Derivation {
  const choice = PROFILE_SETTINGS.some(isWrong) ? undefined : chooseProfile(values, isSet)
  const problems = choice && 'problem' in choice ? [choice.problem] : []
  const profile = choice && 'profile' in choice ? choice.profile : undefined
  if (profile) values = { ...values, ...valuesOf(profile) }

  const lowered = profile && !isSet('TICK_FLOOR_MS') ? lowerFloor(values) : values
  const derived: SettingName[] = PROFILE_SETTINGS.some(isSet) ? PROFILE_SETTINGS.filter((name) => !isSet(name)) : []
  if (lowered.TICK_FLOOR_MS !== values.TICK_FLOOR_MS) derived.push('TICK_FLOOR_MS')

  // Without a valid profile, it is unknown which of the two ticks limits the floor.
  problems.push(...checkRules(lowered, (name) => isWrong(name) || (name === 'APP_PROFILE' && !profile)))
  return { values: lowered, derived, problems }
}

function lowerFloor (values: Values): Values {
  return { ...values, TICK_FLOOR_MS: Math.min(values.TICK_FLOOR_MS, values[tickName(values)]) }
}

function readLayer (texts: Texts): Layer {
  const read = NAMES.map((name) => [name, readText(SETTINGS[name], texts[name])] as const)
  return Object.fromEntries(read.filter(([, value]) => value !== undefined))
}

/** In `.env` quotes are no part of a value; in the environment they are, and nobody means that. */
const isQuoted = (text: string | undefined): boolean => /^(["']).*\1$/s.test(text?.trim() ?? '')

function warnAbout (env: Texts): string[] {
  return Object.entries(env).flatMap(([name, text]) => {
    const meant = suspect(name, text ?? '')
    return meant ? notASetting(name, meant) : []
  })
}

function warnAboutFile (texts: Texts): string[] {
  return Object.keys(texts).filter((name) => !isName(name) && !isFileName(name)).map((name) => notASetting(`${name} in .env`, guess(name)))
}

function notASetting (name: string, meant: SettingName | undefined): string {
  return `${name} is not a setting${meant ? `; did you mean ${meant}?` : ' and has no effect.'}`
}

function notAnOption (key: string, others: readonly string[]): string {
  const meant = guessAmong([...others, ...NAMES.map(camelCase)], key)
  return `${key} is not an option${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

function without (layer: Layer, names: readonly SettingName[]): Layer {
  return Object.fromEntries(Object.entries(layer).filter(([name]) => !names.some((other) => other === name)))
}

function pick (values: Values, names: readonly SettingName[]): Partial<Values> {
  return Object.fromEntries(names.map((name) => [name, values[name]]))
}
