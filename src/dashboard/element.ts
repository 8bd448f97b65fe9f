// Elements of the page. Content is always written as text, never as markup: published data cannot inject any.

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>
export type Child = Node | string

/** Makes an element. An attribute of `true` has no value, and one of `false` is omitted. */
export function make<Tag extends keyof HTMLElementTagNameMap> (tag: Tag, attributes: Attributes = {}, ...children: readonly Child[]): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  mark(element, attributes)
  element.append(...children)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'

export function makeSvg<Tag extends keyof SVGElementTagNameMap> (tag: Tag, attributes: Attributes = {}, ...children: readonly SVGElement[]): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS(SVG, tag)
  mark(element, attributes)
  element.append(...children)
  return element
}

/** Sets only attributes that differ: writing one costs a style pass even if its value is the same. */
export function mark (element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    const text = value === true ? '' : value === false || value === undefined ? null : String(value)
    if (text === null) element.removeAttribute(name)
    else if (element.getAttribute(name) !== text) element.setAttribute(name, text)
  }
}

/** Leaves an unchanged text alone, to keep a selection in it. */
export function write (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

export function show (element: HTMLElement, yes: boolean): void {
  if (element.hidden === yes) element.hidden = !yes
}

/** @throws Error if the page has no such element */
export function byId<Kind extends HTMLElement = HTMLElement> (id: string): Kind {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`the page has no #${id}`)
  return element as Kind
}
