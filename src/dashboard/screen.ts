// Decides when to draw: a few times a second, no matter how much arrives. Panels out of sight are drawn rarely, for screen
// readers and for searching in the page. In the background only the title is updated.

const PAUSE_MS = 250
const UNSEEN_MS = 2000
/** Ages and countdowns continue while nothing arrives. */
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
   * Calls `draw` after changes: soon while `element` is visible.
   * @param always also in the background
   */
  add (element: Element, draw: () => void, always = false): void {
    this.#panels.set(element, { draw, always, isSeen: false, drawnAt: -Infinity })
    this.#observer.observe(element)
  }

  remove (element: Element): void {
    this.#observer.unobserve(element)
    this.#panels.delete(element)
  }

  /** Something has changed: requests a drawing. */
  ask (): void {
    if (document.hidden) return this.#drawBehind()
    if (this.#isDue) return
    this.#isDue = true
    setTimeout(() => requestAnimationFrame(() => this.#draw()), this.#drawnAt + PAUSE_MS - performance.now())
  }

  /** Draws without an animation frame, because there are none in the background. */
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

/** An error in one panel must not stop the others. */
function guarded (draw: () => void): void {
  try {
    draw()
  } catch (error) {
    console.error(error)
  }
}
