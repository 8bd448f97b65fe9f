// Bars as a small SVG file: readable on light and dark ground, without scripts.

import { markup } from '../markup.ts'
import type { Plot } from './chapter.ts'

const WIDTH = 720
const ROW = 24
const LEFT = 190
const RIGHT = 90
const TOP = 34

export function svg ({ title, bars, better }: Plot): string {
  const most = Math.max(...bars.map(({ spread }) => spread.most), Number.MIN_VALUE)
  const x = (value: number): string => (LEFT + value / most * (WIDTH - LEFT - RIGHT)).toFixed(1)
  const rows = bars.map(({ name, spread, text }, index) => {
    const y = TOP + index * ROW
    const middle = y + ROW / 2 - 2
    const whisker = spread.least === spread.most ? null : markup`<path class="spread" d="M${x(spread.least)} ${middle}H${x(spread.most)}M${x(spread.least)} ${middle - 4}v8M${x(spread.most)} ${middle - 4}v8"/>`
    return markup`<text class="name" x="${LEFT - 8}" y="${middle + 4}">${name}</text>
<rect class="${name.startsWith('Signalbox') ? 'own' : 'other'}" x="${LEFT}" y="${y}" width="${(Number(x(spread.median)) - LEFT).toFixed(1)}" height="${ROW - 6}" rx="2"/>
${whisker}<text x="${Number(x(spread.most)) + 8}" y="${middle + 4}">${text}</text>
`
  })
  const height = TOP + bars.length * ROW + 8
  return markup`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${title}">
<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .name { text-anchor: end }
  .own { fill: #1a7f64 }
  .other { fill: #9aa4af }
  .spread { stroke: #24292f; fill: none; opacity: .6 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .own { fill: #3fb68b }
    .other { fill: #6e7681 }
    .spread { stroke: #e6edf3 }
  }
</style>
<text class="title" x="8" y="18">${title}${better === 'less' ? ' (shorter is better)' : ' (longer is better)'}</text>
${rows}</svg>
`.text
}
