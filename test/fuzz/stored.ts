// Inputs that failed once: every run begins with them.

import { readFileSync } from 'node:fs'
import type { Input } from './fuzz.ts'

export const readStored = (): Input[] => JSON.parse(readFileSync(new URL('stored.json', import.meta.url), 'utf8')) as Input[]
