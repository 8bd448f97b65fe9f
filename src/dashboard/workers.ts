// Each process with the figures that the page combines elsewhere.

import { byId } from './element.ts'
import { bytes, count, duration, ms, NONE, percent } from './format.ts'
import type { GatewayReport, ProcessReport, Reports } from './reports.ts'
import { Rows } from './rows.ts'

/** By its number, as in the log; with what else it takes to tell it from the others. */
export function workerOf ({ key, data }: ProcessReport<GatewayReport>, gateways: ReadonlyArray<ProcessReport<GatewayReport>>): string {
  const { worker, host = NONE, pid = NONE } = data
  if (worker === undefined) return key
  const alike = gateways.filter(({ data }) => data.worker === worker)
  if (alike.length < 2) return String(worker)
  return alike.filter(({ data }) => (data.host ?? NONE) === host).length < 2 ? `${worker} on ${host}` : `${worker} on ${host}, pid ${pid}`
}

export class WorkersPanel {
  readonly #reports: Reports
  readonly #rows = new Rows<ProcessReport<GatewayReport>>({
    label: 'Workers',
    keyOf: ({ key }) => key,
    limit: 64,
    columns: [
      { head: 'Worker', text: gateway => workerOf(gateway, this.#reports.of('gateway')) },
      { head: 'Name', isMinor: true, text: ({ key }) => key },
      { head: 'Process', isMinor: true, text: ({ data: { host, pid } }) => pid === undefined ? NONE : `${pid} on ${host ?? NONE}` },
      { head: 'Up for', isNumber: true, isMinor: true, text: ({ data }) => duration(data.uptimeSeconds) },
      { head: 'Sessions', isNumber: true, text: ({ data }) => count(data.sessions?.count) },
      { head: 'CPU', isNumber: true, text: ({ data }) => percent(data.cpuPercent) },
      { head: 'Memory', isNumber: true, text: ({ data }) => bytes(data.memoryBytes) },
      { head: 'Latency p95', isNumber: true, text: ({ data }) => ms(data.latencyMs?.p95) },
      { head: 'Lag p99', isNumber: true, text: ({ data }) => ms(data.lagP99Ms) }
    ]
  })

  constructor (reports: Reports) {
    this.#reports = reports
    byId('workers-place').append(this.#rows.element)
  }

  draw (): void {
    this.#rows.draw(this.#reports.of('gateway'), 'No data yet.')
  }
}
