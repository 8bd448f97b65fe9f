// Columns of points over time, for the lines. The oldest points are dropped. A pause longer than usual between two points is
// a gap, and no line is drawn across it.

export type Point = number | null

export class TimeSeries {
  readonly times: number[] = []
  readonly #columns = new Map<string, Point[]>()
  readonly #limit: number
  readonly #gapMs: number

  constructor (names: readonly string[], limit: number, gapMs: number) {
    for (const name of names) this.#columns.set(name, [])
    this.#limit = limit
    this.#gapMs = gapMs
  }

  /** @param at milliseconds; a point that is not newer than the last one is ignored */
  push (at: number, values: Readonly<Record<string, Point | undefined>>): void {
    const last = this.times.at(-1)
    if (last !== undefined && at <= last) return
    if (last !== undefined && at - last > this.#gapMs) this.#append(last + 1, {})
    this.#append(at, values)
  }

  /**
   * Puts points among those that are there. Of two near each other the fuller one stays: what was pushed first had no rates yet.
   * @param points in order of time. @param nearMs how near
   */
  fill (points: ReadonlyArray<readonly [at: number, values: Readonly<Record<string, Point | undefined>>]>, nearMs: number): void {
    const own = this.times.map((at, index) => [at, Object.fromEntries(Array.from(this.#columns, ([name, column]) => [name, column[index] ?? null]))] as const)
      // Gaps are found anew.
      .filter(([, values]) => fullness(values) > 0)
    const isNear = ([at]: readonly [number, unknown], [other]: readonly [number, unknown]): boolean => Math.abs(at - other) < nearMs
    const others = points.filter(point => !own.some(mine => isNear(mine, point) && fullness(mine[1]) >= fullness(point[1])))
    const kept = own.filter(mine => !others.some(point => isNear(mine, point)))
    this.times.length = 0
    for (const column of this.#columns.values()) column.length = 0
    for (const [at, values] of [...kept, ...others].sort(([a], [b]) => a - b)) this.push(at, values)
  }

  column (name: string): readonly Point[] {
    return this.#columns.get(name) ?? []
  }

  last (name: string): Point {
    return this.column(name).at(-1) ?? null
  }

  #append (at: number, values: Readonly<Record<string, Point | undefined>>): void {
    this.times.push(at)
    for (const [name, column] of this.#columns) column.push(values[name] ?? null)
    if (this.times.length <= this.#limit) return
    this.times.shift()
    for (const column of this.#columns.values()) column.shift()
  }
}

const fullness = (values: Readonly<Record<string, Point | undefined>>): number => Object.values(values).filter(value => typeof value === 'number').length
