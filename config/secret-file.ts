// Secrets as files: NAME_FILE names a file that holds the value of NAME, as Docker, Kubernetes and systemd hand over secrets.

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { NAMES, SETTINGS, type SettingName } from './schema.ts'

type Texts = Readonly<Record<string, string | undefined>>

const SUFFIX = '_FILE'
const FROM_FILE: readonly SettingName[] = NAMES.filter((name) => SETTINGS[name].fromFile)

/** Whether a variable names the file of a setting. */
export const isFileName = (name: string): boolean => FROM_FILE.some((setting) => name === `${setting}${SUFFIX}`)

/** @returns the texts with the values that files hold. A blank NAME_FILE counts as not set */
export function readFiles (texts: Texts, cwd: string): { texts: Texts, problems: string[] } {
  const read: Record<string, string> = {}
  const problems: string[] = []
  for (const name of FROM_FILE) {
    const path = texts[`${name}${SUFFIX}`]?.trim() ?? ''
    if (path === '') continue
    if ((texts[name]?.trim() ?? '') !== '') {
      problems.push(`${name} and ${name}${SUFFIX} are both set; allowed: one of them.`)
      continue
    }
    try {
      // Editors and `echo` end a file with a line break, which is no part of the value.
      read[name] = readFileSync(resolve(cwd, path), 'utf8').replace(/\r?\n$/, '')
      if (read[name].trim() === '') problems.push(`${name}${SUFFIX} is ${JSON.stringify(path)}, which is empty; allowed: a file that holds the value of ${name}.`)
    } catch (error) {
      problems.push(`${name}${SUFFIX} is ${JSON.stringify(path)}, which cannot be read (${String((error as NodeJS.ErrnoException).code)}); allowed: a file that this user may read.`)
    }
  }
  return { texts: { ...texts, ...read }, problems }
}
