// A command's arguments as a form, built from its JSON Schema. An argument of a simple type gets a matching field; any other
// is entered as JSON. Only fields that are filled in are sent, and the gateway validates them.

import { make, mark } from './element.ts'

export interface Schema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly default?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly oneOf?: ReadonlyArray<{ readonly required?: readonly string[] }>
  readonly additionalProperties?: unknown
  readonly minProperties?: number
}

export interface Hints {
  /** The current value, if known. */
  readonly present: (name: string) => string | undefined
  /** Existing values to choose from. */
  readonly choices: (name: string) => readonly string[]
}

/** The arguments, or the problem with the first invalid field. */
export type FormContent = { readonly args: Record<string, unknown> } | { readonly problem: string, readonly field: HTMLElement | undefined }

type InputElement = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement

interface Field {
  readonly name: string
  readonly input: InputElement
  /** @throws Error with the problem */
  readonly read: (text: string) => unknown
}

/** The field for all arguments at once, if the schema names none. */
const WHOLE = ''

export class ArgsForm {
  readonly element = make('div', { class: 'fields' })
  readonly #fields: Field[] = []
  readonly #alternatives: readonly string[]
  readonly #least: number

  constructor (schema: Schema, hints: Hints) {
    const properties = Object.entries(schema.properties ?? {})
    for (const [name, property] of properties) this.#add(name, property, schema.required?.includes(name) === true, hints)
    if (properties.length === 0 && schema.additionalProperties !== false) {
      this.#add(WHOLE, { type: 'object', description: 'An object such as {"name": "value"}. Optional.' }, false, hints)
    }
    this.#least = schema.minProperties ?? 0
    this.#alternatives = schema.oneOf?.flatMap(({ required = [] }) => required) ?? []
    if (this.#alternatives.length > 0) this.element.append(make('p', { class: 'hint' }, this.#either()))
  }

  /** Number of fields. */
  get size (): number {
    return this.#fields.length
  }

  read (): FormContent {
    const args: Record<string, unknown> = {}
    for (const { name, input, read } of this.#fields) {
      const text = input.value.trim()
      mark(input, { 'aria-invalid': undefined })
      if (text === '') continue
      try {
        const value = read(text)
        if (name === WHOLE) Object.assign(args, value)
        else args[name] = value
      } catch (error) {
        mark(input, { 'aria-invalid': 'true' })
        return { problem: `${name === WHOLE ? 'The arguments are' : `${name} is`} not valid JSON: ${(error as Error).message}`, field: input }
      }
    }
    // The gateway would report these in terms of the schema; the form's terms are clearer here.
    const given = Object.keys(args)
    const field = this.#fields[0]?.input
    if (this.#alternatives.length > 0 && given.filter(name => this.#alternatives.includes(name)).length !== 1) return { problem: this.#either(), field }
    if (given.length < this.#least) return { problem: `Fill in at least ${this.#least === 1 ? 'one field' : `${this.#least} fields`}.`, field }
    return { args }
  }

  #either (): string {
    return `Fill in either ${this.#alternatives.join(' or ')}.`
  }

  /** Fills in the arguments of an earlier run. */
  fill (args: Readonly<Record<string, unknown>>): void {
    for (const { name, input } of this.#fields) {
      const value = name === WHOLE ? args : args[name]
      input.value = value === undefined ? '' : typeof value === 'string' ? value : JSON.stringify(value)
    }
  }

  #add (name: string, schema: Schema, isRequired: boolean, hints: Hints): void {
    const id = `arg-${name}`
    const { input, read } = inputFor(schema)
    const present = hints.present(name)
    const range = rangeOf(schema)
    const notes = [schema.description, range].filter(text => text !== undefined && text !== '').join(' ')
    mark(input, {
      id,
      name,
      required: isRequired,
      autocomplete: 'off',
      spellcheck: 'false',
      placeholder: present === undefined ? undefined : `now ${present}`,
      'aria-describedby': notes === '' ? undefined : `${id}-note`
    })
    const label = make('label', { for: id }, make('code', {}, name === WHOLE ? 'arguments, as JSON' : name), ...(isRequired ? [' (required)'] : []))
    const field = make('div', { class: 'field' }, label, input)
    const choices = hints.choices(name)
    if (choices.length > 0 && input instanceof HTMLInputElement) {
      mark(input, { list: `${id}-list` })
      field.append(make('datalist', { id: `${id}-list` }, ...choices.map(value => make('option', { value }))))
    }
    if (notes !== '') field.append(make('p', { class: 'hint', id: `${id}-note` }, notes))
    this.element.append(field)
    this.#fields.push({ name, input, read })
  }
}

const asText = (text: string): unknown => text
const asJson = (text: string): unknown => JSON.parse(text)

function inputFor ({ type, enum: choices, minimum, maximum }: Schema): { input: InputElement, read: (text: string) => unknown } {
  if (choices !== undefined) return { input: select(choices.map(String)), read: text => choices.find(choice => String(choice) === text) }
  // Of several types: the gateway takes the text for what it is.
  switch (Array.isArray(type) && type.includes('string') ? 'string' : type) {
    case 'string': return { input: make('input', { type: 'text' }), read: asText }
    case 'boolean': return { input: select(['true', 'false']), read: asJson }
    case 'integer':
    case 'number': return { input: make('input', { type: 'number', min: minimum, max: maximum, step: type === 'integer' ? 1 : 'any' }), read: Number }
    default: return { input: make('textarea', { rows: 4 }), read: asJson }
  }
}

/** With an empty choice. */
const select = (choices: readonly string[]): HTMLSelectElement =>
  make('select', {}, make('option', { value: '' }, '–'), ...choices.map(choice => make('option', { value: choice }, choice)))

function rangeOf ({ minimum, maximum }: Schema): string | undefined {
  if (minimum !== undefined && maximum !== undefined) return `From ${minimum} to ${maximum}.`
  return minimum !== undefined ? `At least ${minimum}.` : maximum !== undefined ? `At most ${maximum}.` : undefined
}
