// JSON from clients and backends, over HTTP, sockets and Redis. JSON.parse alone is not strict enough: it rounds numbers
// that a double cannot hold (an id such as 9007199254740993 would reach clients changed), and it makes own properties of
// `__proto__`, which a careless reader further on would turn into prototypes.

import { Refusal } from './errors.ts'
import type { Code } from './errors.ts'

/**
 * Worth a closer look: integers beyond 15 digits, and exponents of three digits. Nearly no text has either. The digits are written
 * out because V8 then looks at one character in many: 0.05 us for 200 B, and 0.5 us with `\d{16}`.
 */
const LONG_NUMBER = /\d\d\d\d\d\d\d\d\d\d\d\d\d\d\d\d/
const LONG_EXPONENT = /\d[eE][+-]?\d{3}/
const SUSPECT_NAME = /"(?:_|\\u005[fF]){2}(?:p|\\u0070)(?:r|\\u0072)(?:o|\\u006[fF])(?:t|\\u0074)(?:o|\\u006[fF])(?:_|\\u005[fF]){2}"\s*:/
/** Texts up to this length cannot be nested deeply enough to take long, characters. */
const HARMLESS = 10_000
/** Deeper than any data; a text of nothing but brackets takes JSON.parse a third of a second for 2 MB. */
const MAX_DEPTH = 500
const INTEGER = /^-?\d+$/
/** Digits of the largest double. */
const MAX_DIGITS = 310
const STRING_OR_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/**
 * Reads JSON text.
 * @param code the code of a refusal
 * @throws Refusal
 */
export function readJson (text: string, code: Code): unknown {
  if (text.length > HARMLESS) checkDepth(text, code)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    // V8's message quotes the text; ours says where and stays short.
    const place = /position (\d+)/.exec((error as Error).message)?.[1]
    throw new Refusal(code, text.trim() === '' ? 'the body is empty; JSON is expected' : `not valid JSON${place === undefined ? '' : ` at character ${place}`}`)
  }
  if (SUSPECT_NAME.test(text)) throw new Refusal(code, 'the name "__proto__" is not accepted in JSON')
  if (LONG_NUMBER.test(text) || LONG_EXPONENT.test(text)) checkNumbers(text, code)
  return value
}

function checkNumbers (text: string, code: Code): void {
  for (const [token] of text.matchAll(STRING_OR_NUMBER)) {
    if (token.startsWith('"')) continue
    if (!isKept(token)) throw new Refusal(code, `the number ${token.slice(0, 40)} cannot be kept exactly; send it as a string`)
  }
}

/** Whether a number is passed on as it came. A fraction is: every reader keeps those of its digits that a double holds. */
function isKept (token: string): boolean {
  const number = Number(token)
  if (!Number.isFinite(number)) return false
  if (!INTEGER.test(token)) return number !== 0 || !/[1-9]/.test(token.split(/[eE]/)[0] as string)
  return Number.isSafeInteger(number) || String(number) === token || (token.length <= MAX_DIGITS && BigInt(token) === BigInt(number))
}

function checkDepth (text: string, code: Code): void {
  let depth = 0
  let quoted = false
  for (let index = 0; index < text.length; index++) {
    const char = text.charCodeAt(index)
    if (quoted) {
      if (char === 0x5c /* \\ */) index++
      else if (char === 0x22 /* " */) quoted = false
    } else if (char === 0x22) {
      quoted = true
    } else if (char === 0x5b /* [ */ || char === 0x7b /* { */) {
      if (++depth > MAX_DEPTH) throw new Refusal(code, `JSON may be nested ${MAX_DEPTH} deep`)
    } else if (char === 0x5d /* ] */ || char === 0x7d /* } */) {
      depth--
    }
  }
}
