// Events and messages per second, in and out, and the effect of bundling.

import { Chart } from './chart.ts'
import { byId, write } from './element.ts'
import { sum, worst } from './figures.ts'
import { bytes, bytesPerSecond, duration, many, perSecond, share, short } from './format.ts'
import type { Reports } from './reports.ts'
import type { Samples } from './samples.ts'

export class TrafficPanel {
  readonly #reports: Reports
  readonly #samples: Samples
  readonly #charts = [
    new Chart({
      title: 'Events',
      lines: [
        { column: 'delivered', name: 'Delivered', isFilled: true },
        { column: 'replaced', name: 'Replaced', dash: [6, 3] },
        { column: 'events', name: 'In', dash: [2, 3] }
      ],
      format: perSecond,
      axis: short
    }),
    new Chart({
      title: 'Messages out',
      lines: [
        { column: 'bundles', name: 'Sent', isFilled: true },
        { column: 'owed', name: 'Without bundling', dash: [6, 3] }
      ],
      format: perSecond,
      axis: short
    }),
    new Chart({
      title: 'Bytes out',
      lines: [
        { column: 'bytes', name: 'Sent', isFilled: true },
        { column: 'plainBytes', name: 'Without compression', dash: [6, 3] }
      ],
      format: bytesPerSecond,
      axis: bytes,
      isBinary: true
    })
  ]

  constructor (reports: Reports, samples: Samples) {
    this.#reports = reports
    this.#samples = samples
    byId('charts').append(...this.#charts.map(({ element }) => element))
  }

  draw (): void {
    for (const chart of this.#charts) chart.draw(this.#samples.history)
    write(byId('totals'), this.#totals())
  }

  /** Counters start with each process, so the sentence names the uptime. */
  #totals (): string {
    const gateways = this.#reports.of('gateway')
    if (gateways.length === 0) return 'No data yet.'
    const uptime = duration(worst(gateways, ({ uptimeSeconds }) => uptimeSeconds)?.value)
    const whose = gateways.length === 1 ? `Since the gateway started, ${uptime} ago` : `Since the workers started, the oldest ${uptime} ago, over ${gateways.length} workers`
    const events = worst(gateways, ({ counters }) => counters?.events)?.value
    const total = (name: 'owed' | 'bundles' | 'bytes' | 'unbundledBytes'): number => sum(gateways, ({ counters }) => counters?.[name]) ?? 0
    const [owed, bundles, size, unbundled] = [total('owed'), total('bundles'), total('bytes'), total('unbundledBytes')]
    // Snapshots are bundles too, but they have no counterpart without bundling.
    const saved = owed === 0 ? '' : `, ${share(Math.max(0, 1 - bundles / owed))} fewer than the ${short(owed)} without bundling`
    return `${whose}: ${short(events)} event${events === 1 ? '' : 's'} in, ${many(bundles, 'message')} out${saved}; ${bytes(size)} sent${unbundled <= size ? '' : ` in place of ${bytes(unbundled)}`}.`
  }
}
