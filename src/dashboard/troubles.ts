// Recent refusals and errors.

import { byId, write } from './element.ts'
import { ago, count } from './format.ts'
import type { Reports, TroubleReport } from './reports.ts'
import { Rows } from './rows.ts'

export class TroublesPanel {
  readonly #reports: Reports
  readonly #rows = new Rows<TroubleReport>({
    label: 'Problems',
    keyOf: ({ code, message }) => `${code} ${message}`,
    limit: 20,
    columns: [
      { head: 'Code', text: ({ code }) => code },
      { head: 'Message', isLong: true, text: ({ message }) => message },
      { head: 'Times', isNumber: true, text: ({ count: times = 1 }) => count(times) },
      { head: 'Last', isNumber: true, text: ({ at }) => ago(this.#now - at) }
    ]
  })

  /** The gateway's clock, from its reports. */
  #now = 0

  constructor (reports: Reports) {
    this.#reports = reports
    byId('troubles-place').append(this.#rows.element)
  }

  draw (): void {
    const lists = this.#reports.of('troubles')
    this.#now = Math.max(0, ...this.#reports.of('gateway').map(({ at }) => at))
    const all = new Map<string, TroubleReport>()
    for (const trouble of lists.flatMap(({ data }) => data.recent ?? [])) {
      const name = `${trouble.code} ${trouble.message}`
      const other = all.get(name)
      all.set(name, other === undefined ? trouble : { ...trouble, at: Math.max(trouble.at, other.at), count: (trouble.count ?? 1) + (other.count ?? 1) })
    }
    const troubles = [...all.values()].sort((a, b) => b.at - a.at)
    write(byId('troubles-count'), troubles.length === 0 ? '' : count(troubles.length))
    this.#rows.draw(troubles, lists.length === 0 ? 'No data yet.' : 'No refusals or errors since the gateway started.')
  }
}
