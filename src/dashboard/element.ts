// Elements of the page: made and written as text, never from markup, so that nothing published can become any.

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>
export type Child = Node | string

/** Makes an element; an attribute of `true` is there without a value, one of `false` is not there. */
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

/** Sets what differs: an attribute written anew costs a style pass even where it stays the same. */
export function mark (element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    const text = value === true ? '' : value === false || value === undefined ? null : String(value)
    if (text === null) element.removeAttribute(name)
    else if (element.getAttribute(name) !== text) element.setAttribute(name, text)
  }
}

/** A text that stays the same is left alone, so that a selection in it survives. */
export function write (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

export function show (element: HTMLElement, yes: boolean): void {
  if (element.hidden === yes) element.hidden = !yes
}

/** @throws Error where the page has no such element */
export function byId<Kind extends HTMLElement = HTMLElement> (id: string): Kind {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`the page has no #${id}`)
  return element as Kind
}
