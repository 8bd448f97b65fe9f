// Imports nothing of ours: a start that has too few files left needs this before anything else is opened.

import { readFileSync } from 'node:fs'

/** Files that this process may have open; Infinity where the system does not say: there is no /proc outside of Linux. */
export function fileLimit (): number {
  try {
    return Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? Infinity)
  } catch {
    return Infinity
  }
}
