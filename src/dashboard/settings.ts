// The current settings, with secrets masked.

import { byId, make, show, write } from './element.ts'
import { many, NONE } from './format.ts'
import type { Reports, SettingReport } from './reports.ts'
import { Rows } from './rows.ts'

export class SettingsPanel {
  readonly #reports: Reports
  readonly #onlyChanged = byId<HTMLInputElement>('settings-changed')
  readonly #rows = new Rows<SettingReport>({
    label: 'Settings',
    keyOf: ({ name }) => name,
    limit: 200,
    columns: [
      { head: 'Name', fill: fillName },
      { head: 'Value', isLong: true, text: textOf },
      { head: 'Meaning', isLong: true, isMinor: true, text: ({ meaning = '' }) => meaning }
    ]
  })

  constructor (reports: Reports, draw: () => void) {
    this.#reports = reports
    byId('settings-place').append(this.#rows.element)
    this.#onlyChanged.addEventListener('change', draw)
  }

  draw (): void {
    const settings = settingsOf(this.#reports)
    const changed = settings.filter(({ isDefault }) => isDefault === false)
    write(byId('settings-count'), settings.length === 0 ? '' : `${many(settings.length, 'setting')}, ${changed.length} changed`)
    this.#rows.draw(this.#onlyChanged.checked ? changed : settings, settings.length === 0 ? 'No data yet.' : 'All settings have their defaults.')
  }
}

/** All processes of a deployment have the same settings. */
export const settingsOf = (reports: Reports): readonly SettingReport[] => reports.of('settings').find(({ data }) => data.settings !== undefined)?.data.settings ?? []

export function textOf ({ value, unit }: SettingReport): string {
  const text = value === '' || value === undefined || value === null || (Array.isArray(value) && value.length === 0) ? NONE : String(value)
  return unit === undefined || text === NONE ? text : `${text} ${unit}`
}

function fillName (cell: HTMLElement, { name, tunable = false, isDefault = true }: SettingReport): void {
  const code = cell.querySelector('code') ?? cell.appendChild(make('code'))
  write(code, name)
  tag(cell, 'tunable', tunable)
  tag(cell, 'changed', !isDefault)
}

function tag (cell: HTMLElement, text: string, yes: boolean): void {
  const element = cell.querySelector<HTMLElement>(`.tag-${text}`) ?? cell.appendChild(make('span', { class: `tag tag-${text}` }, text))
  show(element, yes)
}
