// Measures a deployed server from outside: viewers are the product's client over the profile that the server runs, and
// events are published by fetch, in a new room that nobody else uses.

import { setTimeout as delay } from 'node:timers/promises'
import { connect } from '../../src/client/node.ts'
import type { Box, Event } from '../../src/client/node.ts'
import type { ProfileName } from '../../profiles/index.ts'
import { Histogram } from '../histogram.ts'
import { Ledger } from '../ledger.ts'
import type { Delivered } from '../ledger.ts'
import { measureWindow, times } from '../measure.ts'
import type { Duration, Measurement } from '../measure.ts'
import { publish, TYPE } from '../publisher.ts'
import type { Door } from '../publisher.ts'
import { readMetrics } from '../metrics.ts'
import type { Named } from './workloads.ts'

const CONNECT_MS = 30_000
const ANSWER_MS = 15_000
/** Given to publishers on their way to come to an end. */
const ENDING_MS = 1500
const PROFILES: readonly ProfileName[] = ['SSE', 'WEBSOCKET']

/** Why there is no measurement; the message is a sentence. */
export class CannotMeasure extends Error {}

export interface Deployed {
  /** Without a slash at its end. */
  readonly base: string
  readonly profile: ProfileName
  /** Null where its figures cannot be had. */
  readonly metrics: string | null
}

/** @param metrics where its figures are, if not at `/metrics`. @throws CannotMeasure where no gateway answers */
export async function findDeployed (url: string, metrics: string | undefined): Promise<Deployed> {
  const base = url.replace(/\/+$/, '')
  const answer = await ask(`${base}/api/profile`)
  const { profile } = await answer.json().catch(() => ({})) as { profile?: ProfileName }
  if (profile === undefined || !PROFILES.includes(profile)) throw new CannotMeasure(`${base}/api/profile is not a Signalbox: its answer (${answer.status}) names no profile.`)
  const address = metrics ?? `${base}/metrics`
  const readable = await readMetrics(address).then(told => told.buckets('signalbox_delivery_seconds').size > 0, () => false)
  if (!readable && metrics !== undefined) throw new CannotMeasure(`${metrics} holds no figures of a Signalbox.`)
  return { base, profile, metrics: readable ? address : null }
}

export interface Visit extends Duration {
  readonly workload: Named
  readonly viewers: number
  readonly room: string
  readonly signal: AbortSignal
}

/** @throws CannotMeasure with what the gateway refuses */
export async function measureDeployed ({ base, profile, metrics }: Deployed, { workload, viewers: count, room, signal, ...duration }: Visit): Promise<Measurement> {
  const ledger = new Ledger(count)
  const troubles: string[] = []
  let refused = (_error: CannotMeasure): void => {}
  const broken = new Promise<never>((_resolve, reject) => { refused = reject })
  // Where it comes too late for anybody.
  broken.catch(() => {})
  signal.addEventListener('abort', () => refused(new CannotMeasure('It was interrupted.')), { once: true })
  const boxes = times(count, index => watch(connect(base, { rooms: [room] }), index, ledger, what => troubles.push(what), refused))
  let over = false
  const open = async (): Promise<Door> => ({
    async publish (body) {
      if (over) throw new CannotMeasure('It is over.')
      return await post(base, body)
    },
    close () {}
  })
  const measuring = (async () => {
    await Promise.race([broken, allConnected(boxes)])
    await publish({ sources: workload.warmUp, room, open, ms: duration.warmUpMs, ledger, late: new Histogram() })
    return await measureWindow({ profile, workload, viewers: count, coalesced: true, ...duration, ledger, troubles, room, open, metrics, core: null })
  })()
  try {
    return await Promise.race([broken, measuring])
  } finally {
    over = true
    // A value must not come behind its deletion.
    await Promise.race([measuring.catch(() => {}), delay(ENDING_MS)])
    for (const box of boxes) box.close()
    await clear(base, room, ledger.keys)
  }
}

function watch (box: Box, index: number, ledger: Ledger, onTrouble: (what: string) => void, onRefused: (error: CannotMeasure) => void): Box {
  let cursor: string | null = null
  box.on('event', event => {
    // It stays what it was until the whole bundle is handed out.
    if (box.lastEventId !== cursor) ledger.messages++
    cursor = box.lastEventId
    // Deletions of a run before.
    if (event.data !== null) ledger.arrived(index, [event as Event & Delivered], performance.now())
  })
  box.on('status', status => {
    if (status.state === 'refused') onRefused(new CannotMeasure(`The gateway refuses viewers (${status.code}): ${status.reason}.`))
    else if (status.state === 'stale') onTrouble(`a viewer's connection ended (${status.code})`)
    else if (status.state === 'connecting' && status.code !== undefined) {
      onRefused(new CannotMeasure(`Viewers cannot connect (${status.code}): ${status.reason ?? 'no reason is told'}.${status.code === 'ROOM_FULL' ? ' MAX_ROOM_SIZE allows fewer than that: --viewers.' : ''}`))
    }
  })
  box.on('reset', ({ reason }) => onTrouble(`a viewer was reset (${reason})`))
  return box
}

async function allConnected (boxes: readonly Box[]): Promise<void> {
  const deadline = performance.now() + CONNECT_MS
  while (boxes.some(({ status }) => status.state !== 'connected')) {
    if (performance.now() > deadline) throw new CannotMeasure(`Not all ${boxes.length} viewers were connected within ${CONNECT_MS / 1000} s.`)
    await delay(20)
  }
}

async function post (base: string, body: string): Promise<string[]> {
  const response = await ask(`${base}/api/events`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  const { ids, code = '', message = '' } = await response.json().catch(() => ({})) as { ids?: string[], code?: string, message?: string }
  if (response.ok && ids !== undefined) return ids
  const hint = response.status === 429 ? ' PUBLISH_RATE_LIMIT allows less than this workload needs: --load makes it lighter.' : ''
  throw new CannotMeasure(`The gateway refuses events (${response.status}${code === '' ? '' : ` ${code}`})${message === '' ? '' : `: ${message}`}.${hint}`)
}

/** Deletes the values by publishing deletions, which needs no permission for commands. Values that remain expire by STATE_TTL. */
async function clear (base: string, room: string, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return
  await post(base, JSON.stringify(keys.map(key => ({ type: TYPE, room, key, data: null })))).catch(() => {})
}

async function ask (address: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(address, { ...init, signal: AbortSignal.timeout(ANSWER_MS) })
  } catch (error) {
    const { message, cause } = error as Error & { cause?: Error }
    throw new CannotMeasure(`${address} does not answer: ${cause?.message || message}.`)
  }
}
