// When what is drawn: a few times a second however much arrives, and panels that cannot be seen rarely: for whoever has
// the page read out, or searches it. Of a page in the background only its title is drawn.

const PAUSE_MS = 250
const UNSEEN_MS = 2000
/** Ages and countdowns go on where nothing arrives. */
const TICK_MS = 1000

export class Screen {
  readonly #panels = new Map<Element, { readonly draw: () => void, readonly always: boolean, isSeen: boolean, drawnAt: number }>()
  readonly #observer: IntersectionObserver
  #isDue = false
  #drawnAt = -Infinity

  constructor () {
    this.#observer = new IntersectionObserver(entries => {
      for (const { target, isIntersecting } of entries) {
        const panel = this.#panels.get(target)
        if (panel !== undefined) panel.isSeen = isIntersecting
      }
      this.ask()
    }, { rootMargin: '100px' })
    document.addEventListener('visibilitychange', () => this.ask())
    setInterval(() => this.ask(), TICK_MS)
  }

  /**
   * Calls `draw` when something has changed: soon while `element` can be seen.
   * @param always in the background too
   */
  add (element: Element, draw: () => void, always = false): void {
    this.#panels.set(element, { draw, always, isSeen: false, drawnAt: -Infinity })
    this.#observer.observe(element)
  }

  remove (element: Element): void {
    this.#observer.unobserve(element)
    this.#panels.delete(element)
  }

  /** Says that something has changed. */
  ask (): void {
    if (document.hidden) return this.#drawBehind()
    if (this.#isDue) return
    this.#isDue = true
    setTimeout(() => requestAnimationFrame(() => this.#draw()), this.#drawnAt + PAUSE_MS - performance.now())
  }

  /** Without a frame: there are none in the background. */
  #drawBehind (): void {
    if (performance.now() - this.#drawnAt < TICK_MS) return
    this.#drawnAt = performance.now()
    for (const { draw, always } of this.#panels.values()) if (always) guarded(draw)
  }

  #draw (): void {
    this.#isDue = false
    const now = this.#drawnAt = performance.now()
    for (const panel of this.#panels.values()) {
      if (!panel.isSeen && now - panel.drawnAt < UNSEEN_MS) continue
      panel.drawnAt = now
      guarded(panel.draw)
    }
  }
}

/** One panel's mistake must not cost the others. */
function guarded (draw: () => void): void {
  try {
    draw()
  } catch (error) {
    console.error(error)
  }
}
