// Counts and failures of a run of tap, read from its TAP 14 as it arrives. Tap's terse reporter prints neither once a file
// meets its time limit.

/** A file, or a check outside of any, that did not pass. */
interface Failure {
  readonly file: string
  timedOut: boolean
}

const LINE = /^( *)(not )?ok \d+(?: - (.*))?$/
/** A directive or a time may follow the name. */
const TAIL = / # (?:(SKIP|TODO)\b.*|time=([\d.]+)ms)$/i

export class TapSummary {
  passed = 0
  failed = 0
  skipped = 0
  readonly failures: Failure[] = []
  /** What each file took, in ms. */
  readonly times = new Map<string, number>()
  /** Files that tap will run; null until it has printed its plan. */
  planned: number | null = null
  finished = 0

  readonly #print: (text: string) => void
  #rest = ''
  /** Names of the subtests that are open, from the file down. */
  readonly #open: string[] = []
  /** Failed checks in the present file. */
  #failedInFile = 0
  /** The diagnosis being read: of what, and how it is indented. */
  #diagnosis: { indent: string, check: string, lines: string[] } | null = null
  /** The last check, to which a diagnosis belongs. */
  #last: { indent: string, check: string, failed: boolean, top: boolean } | null = null

  /** @param print is given each failed check, with its diagnosis */
  constructor (print: (text: string) => void) {
    this.#print = print
  }

  write (text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() as string
    for (const line of lines) this.#read(line)
  }

  /** Whether every file that was planned has ended. */
  get complete (): boolean {
    return this.planned !== null && this.finished === this.planned
  }

  #read (line: string): void {
    // A diagnosis may quote lines that look like checks.
    if (this.#diagnosis !== null) return this.#readDiagnosis(this.#diagnosis, line)
    if (this.#last !== null && line === `${this.#last.indent}  ---`) {
      this.#diagnosis = { indent: this.#last.indent, check: this.#last.failed ? this.#last.check : '', lines: [] }
      return
    }
    const subtest = /^( *)# Subtest(?:: (.*))?$/.exec(line)
    if (subtest !== null) {
      this.#open.length = Math.min(this.#open.length, (subtest[1] as string).length / 4)
      this.#open.push(subtest[2] ?? '')
      return
    }
    const plan = /^1\.\.(\d+)/.exec(line)?.[1]
    if (plan !== undefined) this.planned = Number(plan)
    const check = LINE.exec(line)
    if (check !== null) this.#check(check[1] as string, check[2] === undefined, check[3] ?? '')
  }

  #check (indent: string, ok: boolean, text: string): void {
    const depth = indent.length / 4
    const [, directive, ms] = TAIL.exec(text) ?? []
    const name = text.replace(TAIL, '')
    const ofSubtest = this.#open.length > depth
    const top = depth === 0
    const path = [...this.#open.slice(0, depth), name].join(' > ')
    if (ofSubtest) {
      this.#open.length = depth
      // A file may fail by its exit code, and a subtest by its plan: no check in it has.
      if (top && !ok && this.#failedInFile === 0) this.failed++
    } else if (directive !== undefined) {
      this.skipped++
    } else if (ok) {
      this.passed++
    } else {
      this.failed++
      this.#failedInFile++
    }
    const failed = !ok && directive === undefined
    this.#last = { indent, check: path, failed: failed && !ofSubtest, top }
    if (!top) return
    this.finished++
    this.#failedInFile = 0
    if (ms !== undefined) this.times.set(name, Number(ms))
    if (failed) this.failures.push({ file: name, timedOut: false })
  }

  #timedOut (file: string): void {
    this.failures.pop()
    const reported = this.failures.find(failure => failure.file === file)
    if (reported === undefined) {
      this.failures.push({ file, timedOut: true })
      return
    }
    // It met its limit by itself and was reported; tap reports it again, in the place of the last file, which then is not.
    reported.timedOut = true
    this.failed--
    this.finished--
  }

  #readDiagnosis (diagnosis: { indent: string, check: string, lines: string[] }, line: string): void {
    const { indent, check, lines } = diagnosis
    if (line !== `${indent}  ...`) {
      lines.push(line.slice(indent.length))
      return
    }
    this.#diagnosis = null
    const expired = this.#last?.top === true ? lines.map(line => /^ {2}expired: (.*)$/.exec(line)?.[1]).find(file => file !== undefined) : undefined
    // Tap reports a time limit as a check outside of every file, which the diagnosis names.
    if (expired !== undefined) this.#timedOut(expired)
    else if (check !== '') this.#print(`not ok: ${check}\n${lines.join('\n')}\n`)
  }
}
