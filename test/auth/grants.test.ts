// Grants against a matcher that is slow and plain.

import t from 'tap'
import { PatternGrants, RIGHTS } from '../../src/core/grants.ts'

/** Tries every place for every star. */
function naive (pattern: string, name: string): boolean {
  if (pattern === '') return name === ''
  if (pattern[0] === '*') return naive(pattern.slice(1), name) || (name !== '' && naive(pattern, name.slice(1)))
  return name !== '' && name[0] === pattern[0] && naive(pattern.slice(1), name.slice(1))
}

function may (pattern: string, name: string): boolean {
  if (!name.startsWith('@')) return naive(pattern, name)
  return pattern === name || (name === '@public' && pattern === '*')
}

/** A generator of numbers that a failure can be repeated with. */
function random (seed: number): (below: number) => number {
  return below => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor(seed / 2 ** 32 * below)
  }
}

t.test('random patterns allow what a plain matcher allows', async t => {
  const next = random(20261128)
  const text = (letters: string, most: number): string => Array.from({ length: next(most + 1) }, () => letters[next(letters.length)]).join('')
  const differences: object[] = []
  let allowed = 0
  for (let round = 0; round < 50_000; round++) {
    const patterns = Array.from({ length: 1 + next(3) }, () => [text('ab*', 8), text('ab-*.', 12), '*', '@public', '@system', '@*', '*@public', 'a*b', '**'][next(9)] as string)
    const name = [text('ab', 10), text('ab-.', 14), '@public', '@system', '@publicly', '@', 'a'][next(7)] as string
    const right = RIGHTS[next(3)] as 'subscribe'
    const is = new PatternGrants({ [right]: patterns }).allow(right, name)
    const should = patterns.some(pattern => may(pattern, name))
    if (is) allowed++
    if (is !== should) differences.push({ patterns, name, is })
  }
  t.strictSame(differences.slice(0, 5), [])
  t.ok(allowed > 5000 && allowed < 45_000, `${allowed} of 50,000 were allowed`)
})

t.test('a right says nothing of another one, and no pattern is one that is not a text', async t => {
  const grants = new PatternGrants({ subscribe: ['a'] })
  t.strictSame(RIGHTS.map(right => grants.allow(right, 'a')), [true, false, false])
  t.strictSame(['toString', '__proto__', 'constructor'].map(name => grants.allow('subscribe', name)), [false, false, false])
  t.equal(new PatternGrants({ subscribe: ['__proto__'] }).allow('subscribe', '__proto__'), true)
})

t.test('names that begin with @ are granted one by one', async t => {
  const allows = (pattern: string, name: string): boolean => new PatternGrants({ subscribe: [pattern] }).allow('subscribe', name)
  t.strictSame([allows('*', '@public'), allows('*', '@system'), allows('@*', '@system'), allows('@*', '@public'), allows('**', '@public'), allows('@system', '@system'), allows('@public', '@public'), allows('@system', 'system')],
    [true, false, false, false, false, true, true, false])
})

t.test('many stars cost a pass over the name, not a try of every place', async t => {
  // Whoever goes back and tries again would not be done within the age of the universe.
  const allows = (pattern: string, name: string): boolean => new PatternGrants({ subscribe: [pattern] }).allow('subscribe', name)
  const name = 'a'.repeat(1_000_000)
  t.equal(allows('*a'.repeat(1000) + '*b', name), false)
  t.equal(allows('*a'.repeat(1000) + '*b*', `${name}c`), false)
  t.equal(allows('*a'.repeat(1000) + '*', name), true)
})
