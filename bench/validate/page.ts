// A run's findings as a page that needs nothing else: it can be sent, kept and printed.

import type { Measurement } from '../measure.ts'
import { cpuPerEvent, nameOf, TARGETS } from './judge.ts'
import { Markup, markup } from '../markup.ts'
import { bars, distribution } from './plot.ts'
import type { Bar } from './plot.ts'
import { definitions, machine } from './findings.ts'
import type { Report } from './findings.ts'
import { COLUMNS, rows, SAVINGS, savings, TRUTHS, truths, truthSentence } from './rows.ts'
import type { Column } from './rows.ts'

const HEADINGS = ['Targets met', 'Targets missed', 'Not measured'] as const

export function page (report: Report): string {
  const { at, url, command, verdict: { code, sentence, caveats }, workloads, quick, seconds } = report
  const truth = truthSentence(report)
  const saved = savings(report)
  return `<!doctype html>\n${markup`<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>Signalbox: ${HEADINGS[code].toLowerCase()}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<header class="verdict code-${code}">
<p class="what">Signalbox, validation${url === null ? '' : ` of ${url}`}, ${at.toISOString().slice(0, 16).replace('T', ' ')} UTC</p>
<h1>${HEADINGS[code]}</h1>
<p>${sentence}</p>
${caveats.length === 0 ? null : markup`<ul>${caveats.map(caveat => markup`<li>${caveat}</li>`)}</ul>`}
</header>
<section>
<h2>Figures</h2>
${figures(report)}
<p class="note">“At once” is unbundled delivery over the same transport. In brackets: bundling has nothing to save in that workload, so its CPU is not judged.${url === null ? null : ' With ~: the server’s own estimate, not judged.'} What each figure means is <a href="#definitions">below</a>.</p>
</section>
<section>
<h2>Latency: share of events there within a time</h2>
${legend(report)}
<div class="plots">${workloads.map(workload => markup`<figure>${distribution(`Latency, ${workload.name}`, curves(report, workload.name), TARGETS.p95Ms)}<figcaption><b>${workload.name}</b>: ${workload.what}.</figcaption></figure>`)}</div>
</section>
<section>
<h2>Cost</h2>
<div class="plots">
<figure>${bars('Server CPU for an event published', groups({ ...report, workloads: workloads.filter(({ saves }) => saves) }, cpuPerEvent, value => `${Math.round(value * 1e6)} µs`))}<figcaption>Server CPU for an event published.</figcaption></figure>
<figure>${bars('Messages to a viewer for an event published', groups(report, messagesPerEvent, value => value.toFixed(value < 0.1 ? 3 : 2)))}<figcaption>Messages to a viewer for an event published.</figcaption></figure>
<figure>${bars('Event-loop lag, 99th percentile', groups(report, ({ lagP99Ms }) => lagP99Ms, value => `${value.toFixed(1)} ms`), TARGETS.lagP99Ms)}<figcaption>Event-loop lag p99; the line is its target, ${TARGETS.lagP99Ms} ms.</figcaption></figure>
</div>
</section>
${saved.length === 0
  ? null
  : markup`<section>
<h2>Bytes saved</h2>
<p>Of the bytes there would be if each event went out whole, by itself and uncompressed, to everyone who hears it.</p>
${told(SAVINGS, saved)}
</section>`}
${truth === null
  ? null
  : markup`<section>
<h2>Does the server tell the truth about itself?</h2>
<p>${truth}</p>
${told(TRUTHS, truths(report))}
</section>`}
<section id="definitions">
<h2>What the figures mean</h2>
<dl>${definitions(report).map(([term, text]) => markup`<dt>${term}</dt><dd>${text}</dd>`)}</dl>
</section>
<section>
<h2>Again</h2>
<pre>${command}</pre>
<p class="note">${machine()}. ${Math.round(seconds)} s in all.${quick ? ' --quick: too short for more than an impression.' : ''} The figures are in validation.json too.</p>
</section>
</main>
</body>
</html>`}\n`
}

function figures (report: Report): Markup {
  return markup`<div class="wide" tabindex="0">
<table>
<thead>
<tr><th scope="col">workload</th><th scope="col">delivery</th>${COLUMNS.map(({ name, unit }) => markup`<th scope="col">${name} <small>${unit}</small></th>`)}</tr>
<tr class="targets"><th scope="row" colspan="2">target</th>${COLUMNS.map(({ target }) => markup`<td>${target.replace('>=', '≥')}</td>`)}</tr>
</thead>
${report.workloads.map(({ name }) => markup`<tbody>${rows(report, name).map(({ measurement: { profile, coalesced }, cells }) => markup`<tr class="${coalesced ? 'coalesced' : 'at-once'}"><th scope="row">${name}</th><th scope="row">${profile}${coalesced ? '' : ' at once'}</th>${cells.map(({ text, met }) => markup`<td class="${met === false ? 'missed' : met === true ? 'met' : 'told'}">${text}${met === false ? ' ✗' : ''}</td>`)}</tr>`)}</tbody>`)}
</table>
</div>`
}

/** Figures that have no target. */
const told = (columns: readonly Column[], lines: ReturnType<typeof truths>): Markup => markup`<div class="wide" tabindex="0">
<table>
<thead><tr><th scope="col">workload</th><th scope="col">profile</th>${columns.map(({ name, unit }) => markup`<th scope="col">${name} <small>${unit}</small></th>`)}</tr></thead>
<tbody>${lines.map(({ measurement: { workload, profile }, cells }) => markup`<tr><th scope="row">${workload}</th><th scope="row">${profile}</th>${cells.map(cell => markup`<td>${cell}</td>`)}</tr>`)}</tbody>
</table>
</div>`

const kindOf = ({ profile, coalesced }: Measurement): string => `${profile === 'SSE' ? 'sse' : 'websocket'}${coalesced ? '' : ' plain'}`
const deliveryOf = ({ profile, coalesced }: Measurement): string => `${profile}${coalesced ? '' : ' at once'}`

function curves ({ measurements }: Report, workload: string): Array<{ name: string, kind: string, points: Measurement['curve'] }> {
  return measurements.filter(measurement => measurement.workload === workload && measurement.latency !== null)
    .map(measurement => ({ name: nameOf(measurement), kind: kindOf(measurement), points: measurement.curve }))
}

function groups ({ measurements, workloads }: Report, figure: (of: Measurement) => number | null, text: (value: number) => string): Array<{ name: string, bars: Bar[] }> {
  return workloads.map(({ name }) => ({
    name,
    bars: measurements.filter(({ workload }) => workload === name).map(measurement => {
      const value = figure(measurement)
      return { name: deliveryOf(measurement), kind: kindOf(measurement), value, text: value === null ? 'not known' : text(value) }
    })
  }))
}

const messagesPerEvent = ({ messages, published, viewers }: Measurement): number | null => published === 0 ? null : messages / viewers / published

function legend ({ measurements }: Report): Markup {
  const kinds = new Map(measurements.map(measurement => [deliveryOf(measurement), kindOf(measurement)]))
  return markup`<p class="legend">${[...kinds].map(([name, kind]) => markup`<span><svg viewBox="0 0 24 8" aria-hidden="true"><polyline class="${kind}" points="0,4 24,4"></polyline></svg> ${name}</span> `)}</p>`
}

const STYLE = new Markup(`
:root { color-scheme: light dark; --paper: #f4f6f8; --card: #fff; --ink: #141a22; --faint: #55606e; --line: #dfe4ea; --good: #0b6b3a; --bad: #b3261e; --warn: #8f4700; --sse: #1b5fbf; --websocket: #9a5b00 }
@media (prefers-color-scheme: dark) { :root { --paper: #0e1217; --card: #161c23; --ink: #e6eaef; --faint: #9ba6b4; --line: #29323c; --good: #4cc38a; --bad: #ff8f86; --warn: #f0b35a; --sse: #79b0ff; --websocket: #e3ac5b } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 72rem; margin: 0 auto; padding: 1rem }
section, .verdict { background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; padding: 1rem 1.25rem; margin: 0 0 1rem }
.verdict { border-left: 0.5rem solid var(--good) }
.code-1 { border-left-color: var(--bad) }
.code-2 { border-left-color: var(--warn) }
h1 { margin: 0; font-size: 2rem; color: var(--good) }
.code-1 h1 { color: var(--bad) }
.code-2 h1 { color: var(--warn) }
h2 { margin: 0 0 0.5rem; font-size: 1.15rem }
p { margin: 0.25rem 0; max-width: 75ch; overflow-wrap: anywhere }
.what, .note, figcaption, small { color: var(--faint) }
.note, figcaption, small, li, .legend { font-size: 0.875rem }
a { color: var(--sse) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: 0.25rem 0.5rem; text-align: right; white-space: nowrap }
thead th { vertical-align: bottom; white-space: normal }
th { font-weight: 600 }
thead th:nth-child(-n+2), tbody th, .targets th { text-align: left }
tbody { border-top: 1px solid var(--line) }
.targets td, .targets th, .at-once { color: var(--faint) }
.at-once th { font-weight: 400 }
.met { color: var(--good) }
.missed { color: var(--bad); font-weight: 700 }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1rem 1.5rem }
figure { margin: 0; break-inside: avoid }
svg { display: block; width: 100%; height: auto; font: 11px system-ui, sans-serif }
.legend svg { display: inline-block; width: 1.5rem; vertical-align: middle }
.legend span { margin-right: 1rem; white-space: nowrap }
text { fill: var(--ink) }
text.tick, text.name { fill: var(--faint) }
text.group { font-weight: 600 }
text.target { fill: var(--bad) }
line.grid { stroke: var(--line) }
line.p95 { stroke: var(--faint); stroke-dasharray: 2 3 }
line.target { stroke: var(--bad); stroke-dasharray: 5 3 }
polyline { fill: none; stroke-width: 2 }
polyline.sse { stroke: var(--sse) }
polyline.websocket { stroke: var(--websocket) }
polyline.plain { stroke-dasharray: 5 4; opacity: 0.75 }
rect.sse { fill: var(--sse) }
rect.websocket { fill: var(--websocket) }
rect.plain { opacity: 0.45 }
dt { font-weight: 600 }
dd { margin: 0 0 0.5rem; max-width: 85ch; font-size: 0.875rem }
pre { overflow-x: auto; margin: 0.25rem 0; padding: 0.5rem; background: var(--paper); border-radius: 0.25rem }
@media print { :root { color-scheme: light } body, section, .verdict { background: none } section { break-inside: avoid } .wide { overflow: visible } table { font-size: 0.65rem } th, td { padding: 0.1rem 0.25rem } }
`)
