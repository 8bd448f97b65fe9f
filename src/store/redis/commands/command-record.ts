// The ledger's record of a command that was handed over to backends: the record that the core wrote (core/ledger.ts), and the
// entry of its stream. Redis compares the text as a whole and never parses it: numbers would lose digits there.

import type { CommandRecord } from '../../../core/store.ts'

/** Its `by` is empty: it was handed over. */
export interface DispatchedCommand extends CommandRecord {
  /** The entry of its stream; once it is settled, the one whose answer counted. */
  readonly entry?: string
}

/** The consumer groups: the backends that serve a command, and the workers that take the answers. */
export const BACKENDS = 'handlers'
export const WORKERS = 'gateway'

/** @returns null if there is none, or its command was not handed over */
export function recordOf (text: string | null): DispatchedCommand | null {
  try {
    const record = JSON.parse(text ?? 'null') as DispatchedCommand | null
    return record?.by === '' ? record : null
  } catch {
    // We did not write this. It must not block the commands that wait for it.
    return null
  }
}

export const isOpen = ({ status }: DispatchedCommand): boolean => status === 'running'

export type CommandEnding = Pick<DispatchedCommand, 'status' | 'result' | 'error'>

/** The record's text with an outcome. */
export function settledRecord ({ command, fingerprint, by, owner, entry }: DispatchedCommand, outcome: CommandEnding & Pick<DispatchedCommand, 'entry'>): string {
  return JSON.stringify({ command, fingerprint, by, owner, entry, ...outcome })
}

export const failed = (message: string): CommandEnding => ({ status: 'failed', error: { code: 'COMMAND_FAILED', message } })

/** Lua: adds the entry to a record's text. */
export const WITH_ENTRY = 'local function withEntry (record, entry) return string.sub(record, 1, -2) .. \',"entry":"\' .. entry .. \'"}\' end\n'
