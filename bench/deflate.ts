// What it costs to compress one frame, and what it saves, by size, level and kind of text: `npx tsx bench/deflate.ts`. The level
// and the shortest text that is compressed (src/app/compression.ts) go by it.

import { constants, deflateRawSync } from 'node:zlib'

const LEVELS = [1, 3, 6]
const COUNTS = [1, 2, 5, 20, 50, 200, 1000]
/** CPU spent on each measurement, ms. */
const SPENT_MS = 150

const random = (limit: number): number => Math.floor(Math.random() * limit)
const WORDS = 'pump valve pressure opened closed alarm acknowledged by operator at station north south tank level high low started stopped manual automatic check required'.split(' ')

const KINDS: Record<string, (n: number) => object> = {
  gauges: n => ({ key: `host-${n}`, data: { cpu: Math.random() * 100, memory: random(2 ** 34), state: 'ok', zone: `eu-${n % 3}` } }),
  'one number': n => ({ key: `k${n}`, data: random(1000) }),
  sentences: () => ({ data: { text: Array.from({ length: 20 }, () => WORDS[random(WORDS.length)]).join(' ') } }),
  'random bytes': () => ({ data: Array.from({ length: 40 }, () => random(2 ** 32).toString(36)).join('') })
}

function frameOf (kind: string, count: number): Buffer {
  const events = Array.from({ length: count }, (_, n) => JSON.stringify({ id: `1763770000${100 + n}-${n % 7}`, type: 'host', room: 'plant-1', ...KINDS[kind]?.(n), timestamp: 1_763_770_000_100 + n }))
  return Buffer.from(`id: qcIKH2ixvw~k1ZrNStdOQ~1763770000000-4\ndata: [${events.join(',\ndata: ')}]\n\n`)
}

/** CPU of one call, us. */
function costOf (act: () => unknown): number {
  for (let n = 0; n < 50; n++) act()
  let calls = 0
  const before = process.cpuUsage()
  for (;;) {
    for (let n = 0; n < 10; n++) act()
    calls += 10
    const { user, system } = process.cpuUsage(before)
    if (user + system >= SPENT_MS * 1000) return (user + system) / calls
  }
}

console.log(`| events | of | bytes | ${LEVELS.map(level => `level ${level}: bytes, us`).join(' | ')} |`)
console.log(`|---|---|---|${LEVELS.map(() => '---').join('|')}|`)
for (const kind of Object.keys(KINDS)) {
  for (const count of COUNTS) {
    const frame = frameOf(kind, count)
    const cells = LEVELS.map(level => {
      const options = { level, finishFlush: constants.Z_FULL_FLUSH }
      return `${deflateRawSync(frame, options).length}, ${costOf(() => deflateRawSync(frame, options)).toFixed(0)}`
    })
    console.log(`| ${count} | ${kind} | ${frame.length} | ${cells.join(' | ')} |`)
  }
}
