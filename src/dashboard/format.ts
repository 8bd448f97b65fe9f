// Figures as text. A figure may be missing or not a number, depending on the system and the publisher: then it is a dash.

export const NONE = '–'

type FigureFormat = (value: unknown) => string

const figure = (format: (value: number) => string): FigureFormat => value => typeof value === 'number' && Number.isFinite(value) ? format(value) : NONE

const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** From here on digits would be noise: 1e300 would have 300 of them. */
const HUGE = 1e15

const number = (value: number, digits: number): string => Math.abs(value) < HUGE ? value.toLocaleString('en', { maximumFractionDigits: digits }) : value.toExponential(2)

/** Three significant digits are enough for a changing figure. */
const moving = (value: number): string => number(value, Math.abs(value) < 10 ? 1 : 0)

export const count = figure(value => number(value, 1))

/** Large numbers in compact notation. */
export const short = figure(value => {
  if (Math.abs(value) < 10_000) return moving(value)
  return Math.abs(value) < HUGE ? value.toLocaleString('en', { notation: 'compact', maximumSignificantDigits: 3 }) : number(value, 0)
})
export const bytes = figure(value => {
  const power = Math.min(BYTES.length - 1, Math.floor(Math.log2(Math.max(1, value)) / 10))
  return `${moving(value / 1024 ** power)} ${BYTES[power]}`
})
export const bytesPerSecond = figure(value => `${bytes(value)}/s`)
export const perSecond = figure(value => `${short(value)}/s`)
/** For a figure that is already in percent. */
export const percent = figure(value => `${number(value, value < 10 ? 1 : 0)} %`)
/** For a share from 0 to 1. Only 0 is shown as 0 %, and only 1 as 100 %. */
export const share = figure(value => {
  const whole = Math.round(value * 100)
  return `${whole === 100 && value < 1 ? 99 : whole === 0 && value > 0 ? '< 1' : whole} %`
})
export const ms = figure(value => value >= 1000 ? `${moving(value / 1000)} s` : `${moving(value)} ms`)
export const duration = figure(seconds => {
  const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor) as [number, number, number]
  if (days > 0) return `${count(days)} d ${hours} h`
  if (hours > 0) return `${hours} h ${minutes} min`
  return minutes > 0 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds)} s`
})
/** Elapsed time in one unit. */
export const ago = figure(passedMs => {
  const seconds = Math.max(0, passedMs / 1000)
  if (seconds < 2) return 'just now'
  if (seconds < 60) return `${Math.floor(seconds)} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} d ago`
})

export const clock = (at: number): string => new Date(at).toLocaleTimeString('en-GB')

/** A count with its noun: `1 room`, `2 rooms`. */
export const many = (value: number, noun: string): string => `${count(value)} ${noun}${value === 1 ? '' : 's'}`

const MAX_TEXT = 500

export const shorten = (text: string, length = MAX_TEXT): string => text.length > length ? `${text.slice(0, length)}…` : text

/** Any JSON value on one line. */
export const json = (value: unknown): string => shorten(JSON.stringify(value) ?? NONE)
