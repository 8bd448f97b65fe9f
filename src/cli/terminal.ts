// What the command line writes: data to stdout, everything else to stderr; in colours only where a terminal shows them.

import { once } from 'node:events'
import { stripVTControlCharacters, styleText } from 'node:util'
import type { Event } from '../client/index.ts'

type Style = Parameters<typeof styleText>[0]
type Painter = (style: Style, text: string) => string

/** Asked once: NO_COLOR, FORCE_COLOR and what the stream is do not change while a verb runs. */
function painterFor (stream: NodeJS.WriteStream): Painter {
  const isColoured = styleText('red', 'x', { stream }) !== 'x'
  return (style, text) => isColoured ? styleText(style, text, { validateStream: false }) : text
}

const paint = painterFor(process.stdout)
export const paintTalk = painterFor(process.stderr)

/** Tells the user something that is no data. */
export function say (line: string): void {
  process.stderr.write(`${paintTalk('dim', line)}\n`)
}

export function sayError (message: string): void {
  process.stderr.write(`${paintTalk('red', 'error:')} ${message}\n`)
}

let isReaderGone = false
let onReaderGone = (): void => process.exit(0)

/** The verb goes on after its reader has closed the pipe: what it does counts more than what it prints. */
export function outliveReader (): void {
  onReaderGone = () => {}
}

/** Must run before anything is written: without a listener a closed pipe is an uncaught error. */
export function watchStreams (): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    isReaderGone = true
    // Windows says EOF.
    if (error.code === 'EPIPE' || error.code === 'EOF') return onReaderGone()
    sayError(`the output cannot be written: ${error.message}`)
    process.exit(1)
  })
  process.stderr.on('error', () => {})
}

/** Writes lines of data. Waits where the reader is slow, so that nothing piles up in memory. */
export async function print (text: string): Promise<void> {
  if (isReaderGone || process.stdout.write(`${text}\n`)) return
  await drained()
}

/** Bytes that wait for a slow reader. */
export const unread = (): number => process.stdout.writableLength

export async function drained (): Promise<void> {
  if (!isReaderGone && process.stdout.writableNeedDrain) await once(process.stdout, 'drain').catch(() => {})
}

/** Ends the process once everything is written: `process.exit` alone cuts off what a pipe has not taken yet. */
export async function exit (code: number): Promise<never> {
  if (!isReaderGone) await new Promise<void>(resolve => { process.stdout.write('', () => resolve()) })
  return process.exit(code)
}

// C1 controls mean something to terminals, and JSON does not escape them.
const CONTROLS = /[\u007f-\u009f]/g
/** The JSON text of a value, which cannot command a terminal. */
const jsonText = (value: unknown, space?: number): string =>
  JSON.stringify(value, null, space).replace(CONTROLS, control => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`)

const PLAIN = /^[\w.:/-]+$/

/** One event as a line: for programs, or for people. */
export function lineOf (event: Event, isJson: boolean): string {
  if (isJson) return jsonText(event)
  const { timestamp, room = '@public', type, key, data } = event
  return [
    paint('dim', new Date(timestamp).toISOString()),
    paint('cyan', room),
    paint('green', type),
    ...key === undefined ? [] : [paint('yellow', PLAIN.test(key) ? key : jsonText(key))],
    data === null && key !== undefined ? paint('red', 'deleted') : jsonText(data)
  ].join('  ')
}

/** A value: on a terminal over several lines, in a pipe in one. */
export const valueText = (value: unknown): string => jsonText(value, process.stdout.isTTY ? 2 : undefined) ?? 'null'

/** What a gateway says may come from anybody. */
export const harmless = (text: string): string => stripVTControlCharacters(text).replace(CONTROLS, '')
