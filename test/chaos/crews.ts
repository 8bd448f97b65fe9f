// The processes of a run with its clients and publishers, seen from the runner.

import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { until } from '../process/harness.ts'
import type { ChainPlan } from './chain.ts'
import type { Order, Report } from './crew.ts'
import type { ProducerPlan } from './producer.ts'

const CREW = join(import.meta.dirname, 'crew.ts')
const LOADER = import.meta.resolve('tsx')
const ORDER_MS = 60_000

interface Progress {
  readonly chains: number
  readonly ready: number
  readonly connected: number
  readonly done: number
  readonly missing: readonly string[]
}

const NO_PROGRESS: Progress = { chains: 0, ready: 0, connected: 0, done: 0, missing: [] }

class Crew {
  readonly #child: ChildProcess
  readonly #mistakes: string[]
  progress: Progress = NO_PROGRESS
  #said = new Set<string>()

  constructor (mistakes: string[]) {
    this.#mistakes = mistakes
    this.#child = fork(CREW, { execArgv: ['--import', LOADER], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.#child.on('message', (report: Report) => {
      if (report.is === 'progress') this.progress = report
      else if (report.is === 'mistake') this.#mistakes.push(report.text)
      else this.#said.add(report.is)
    })
    this.#child.on('exit', (code, signal) => { if (this.#child.connected || code !== 0) this.#mistakes.push(`a process with clients ended: ${signal ?? code}`) })
  }

  tell (order: Order): void {
    this.#child.send(order)
  }

  async ask (order: Order, answer: Report['is'], ms = ORDER_MS): Promise<void> {
    this.#said.delete(answer)
    this.tell(order)
    await until(`a process with clients answers ${order.do}`, () => this.#said.has(answer) || !this.#child.connected, ms)
  }

  forget (): void {
    this.progress = NO_PROGRESS
  }

  close (): void {
    if (this.#child.connected) this.#child.disconnect()
  }
}

export class Crews {
  readonly #viewers: Crew[]
  readonly #publishers: Crew
  /** What no client should ever see: messages that are not as documented, errors of the clients themselves. */
  readonly mistakes: string[] = []

  constructor (processes: number) {
    this.#viewers = Array.from({ length: processes }, () => new Crew(this.mistakes))
    this.#publishers = new Crew(this.mistakes)
  }

  get #all (): Crew[] {
    return [...this.#viewers, this.#publishers]
  }

  /** @param folder for the history @returns the files */
  async begin (folder: string): Promise<string[]> {
    this.mistakes.length = 0
    return await Promise.all(this.#all.map(async (crew, index) => {
      const file = join(folder, `clients-${index}.jsonl`)
      crew.forget()
      await crew.ask({ do: 'begin', file }, 'begun')
      return file
    }))
  }

  connect (chains: readonly ChainPlan[]): void {
    const { length } = this.#viewers
    for (const [index, crew] of this.#viewers.entries()) crew.tell({ do: 'connect', chains: chains.filter((_, place) => place % length === index) })
  }

  publish (producers: readonly ProducerPlan[]): void {
    this.#publishers.tell({ do: 'publish', producers })
  }

  async finish (ms: number): Promise<void> {
    await this.#publishers.ask({ do: 'finish', giveUp: false }, 'finished', ms).catch(async () => await this.#publishers.ask({ do: 'finish', giveUp: true }, 'finished'))
  }

  async settle (): Promise<void> {
    await Promise.all(this.#viewers.map(async crew => await crew.ask({ do: 'settle' }, 'settled')))
  }

  async end (): Promise<void> {
    await Promise.all(this.#all.map(async crew => await crew.ask({ do: 'end' }, 'ended')))
  }

  /** How many chains have all first snapshots, are connected, and have all final events; and some that have not. */
  get progress (): Progress {
    return this.#viewers.reduce(({ chains, ready, connected, done, missing }, { progress }) => ({
      chains: chains + progress.chains,
      ready: ready + progress.ready,
      connected: connected + progress.connected,
      done: done + progress.done,
      missing: [...missing, ...progress.missing]
    }), NO_PROGRESS)
  }

  close (): void {
    for (const crew of this.#all) crew.close()
  }
}
