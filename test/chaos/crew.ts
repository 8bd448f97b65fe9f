// A process with clients or publishers of a chaos run: what the runner's event loop does is no affair of theirs. It is told by
// messages what to do, and writes its part of the history to a file of its own.

import { setTimeout as delay } from 'node:timers/promises'
import type { ChainPlan } from './chain.ts'
import type { Chain } from './chain.ts'
import { HistoryWriter } from './history.ts'
import { LibraryChain } from './library-chain.ts'
import { Producer } from './producer.ts'
import type { ProducerPlan } from './producer.ts'
import { ReadChain } from './read-chain.ts'
import { WireChain } from './wire-chain.ts'

export type Order =
  | { readonly do: 'begin', readonly file: string }
  | { readonly do: 'connect', readonly chains: readonly ChainPlan[] }
  | { readonly do: 'publish', readonly producers: readonly ProducerPlan[] }
  /** Publishers finish; `true`: they give up what is unknown. */
  | { readonly do: 'finish', readonly giveUp: boolean }
  /** Clients change their rooms no more. */
  | { readonly do: 'settle' }
  /** All ends, and the file is closed. */
  | { readonly do: 'end' }

export type Report =
  | { readonly is: 'progress', readonly chains: number, readonly ready: number, readonly connected: number, readonly done: number, readonly missing: readonly string[] }
  | { readonly is: 'begun' | 'finished' | 'settled' | 'ended' }
  | { readonly is: 'mistake', readonly text: string }

const KINDS = { wire: WireChain, library: LibraryChain, read: ReadChain }
const PROGRESS_MS = 100
const WAVE = 25
const WAVE_MS = 50
const NAMED = 5

let history: HistoryWriter
let chains: Chain[] = []
let producers: Producer[] = []

const say = (report: Report): void => { process.send?.(report) }

process.on('uncaughtException', error => say({ is: 'mistake', text: String(error.stack).slice(0, 2000) }))
process.on('disconnect', () => process.exit())
// The runner may be gone before this process has loaded.
if (!process.connected) process.exit()

async function obey (order: Order): Promise<void> {
  switch (order.do) {
    case 'begin':
      history = new HistoryWriter(order.file)
      return say({ is: 'begun' })
    case 'connect': {
      const added = order.chains.map(plan => new KINDS[plan.kind](plan, history))
      chains.push(...added)
      for (const [index, chain] of added.entries()) {
        // Thousands at once would be a herd before the fault, on a machine that they share with the gateway.
        if (index % WAVE === WAVE - 1) await delay(WAVE_MS)
        chain.start()
      }
      return
    }
    case 'publish':
      for (const plan of order.producers) {
        const producer = new Producer(plan, history)
        producers.push(producer)
        producer.start()
      }
      return
    case 'finish':
      await Promise.all(producers.map(async producer => await (order.giveUp ? producer.giveUp() : producer.finish())))
      return say({ is: 'finished' })
    case 'settle':
      await Promise.all(chains.map(async chain => await chain.settle()))
      return say({ is: 'settled' })
    case 'end':
      await Promise.all(producers.map(async producer => await producer.giveUp()))
      await Promise.all(chains.map(async chain => await chain.stop()))
      chains = []
      producers = []
      history.close()
      return say({ is: 'ended' })
  }
}

process.on('message', (order: Order) => {
  obey(order).catch((error: unknown) => say({ is: 'mistake', text: String((error as Error).stack) }))
})

setInterval(() => {
  if (chains.length === 0) return
  const missing = chains.filter(({ isDone }) => !isDone)
  const count = (name: 'isReady' | 'isConnected'): number => chains.filter(chain => chain[name]).length
  const names = missing.slice(0, NAMED).map(({ plan }) => plan.name)
  say({ is: 'progress', chains: chains.length, ready: count('isReady'), connected: count('isConnected'), done: chains.length - missing.length, missing: names })
}, PROGRESS_MS)
