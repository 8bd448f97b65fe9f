// Markup whose text cannot become markup: what is put between the pieces of a template is escaped unless it is markup itself.

export class Markup {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }

  toString (): string {
    return this.text
  }
}

type Part = Markup | string | number | null | readonly Part[]

export function markup (pieces: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return new Markup(pieces.reduce((text, piece, index) => text + told(parts[index - 1] ?? null) + piece))
}

function told (part: Part): string {
  if (part === null) return ''
  if (part instanceof Markup) return part.text
  if (typeof part === 'object') return part.map(told).join('')
  return String(part).replace(/[&<>"']/g, character => ESCAPES[character] as string)
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
