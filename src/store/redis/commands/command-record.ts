// A command that was handed over to backends, as the ledger has it: what the core wrote (see command.ts), and the entry
// of its stream that it waits in. Redis compares such a text whole and never reads it: there numbers would lose digits.

import type { Outcome } from '../../../core/command.ts'

export interface DispatchedCommand extends Omit<Outcome, 'id'> {
  readonly fingerprint: string
  /** Empty where it was handed over. */
  readonly by: string
  /** Where it waits or is carried out; once it is settled, the one whose answer counted. */
  readonly entry?: string
}

/** The groups of readers: all backends that serve a command, and the workers that take the answers. */
export const BACKENDS = 'handlers'
export const WORKERS = 'gateway'

/** @returns null where there is none, or its command was not handed over */
export function recordOf (text: string | null): DispatchedCommand | null {
  try {
    const record = JSON.parse(text ?? 'null') as DispatchedCommand | null
    return record?.by === '' ? record : null
  } catch {
    // Not of our writing. Whatever waits for it must not be held up for ever.
    return null
  }
}

export const isOpen = ({ status }: DispatchedCommand): boolean => status === 'running'

export type CommandEnding = Pick<DispatchedCommand, 'status' | 'result' | 'error'>

/** The record's text once something has become of the command. */
export function settledRecord ({ command, fingerprint, by, entry }: DispatchedCommand, outcome: CommandEnding & Pick<DispatchedCommand, 'entry'>): string {
  return JSON.stringify({ command, fingerprint, by, entry, ...outcome })
}

export const failed = (message: string): CommandEnding => ({ status: 'failed', error: { code: 'COMMAND_FAILED', message } })

/** Lua: puts the entry into a record's text. */
export const WITH_ENTRY = 'local function withEntry (record, entry) return string.sub(record, 1, -2) .. \',"entry":"\' .. entry .. \'"}\' end\n'
