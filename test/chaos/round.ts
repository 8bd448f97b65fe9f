// One round: clients connect, publishers publish, the fault comes and goes, publishers finish, each room gets its final event, and
// everybody has to have received that.

import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { request, until } from '../process/harness.ts'
import { authHeaders } from './auth.ts'
import type { Crews } from './crews.ts'
import { dataOf, FINAL, FINAL_VALUE, sumOf } from './data.ts'
import { usageOf } from './deployment.ts'
import type { Deployment } from './deployment.ts'
import type { Fault, Rig } from './fault.ts'
import { HistoryWriter } from './history.ts'
import type { Run } from './history.ts'
import { chainPlans, producerPlans, roomsOf } from './plan.ts'
import type { Random } from './random.ts'
import type { Toxic } from './toxic.ts'

export interface RoundOptions {
  readonly number: number
  readonly random: Random
  readonly fault: Fault
  readonly deployment: Deployment
  readonly proxy: Toxic | null
  readonly redisProxy: Toxic | null
  readonly crews: Crews
  readonly clients: number
  readonly seconds: number
  /** For the history. */
  readonly folder: string
  readonly run: Omit<Run, 't' | 'f' | 'fault'>
}

export interface RoundRecord {
  /** The history's files. */
  readonly files: readonly string[]
  readonly evidence: string | null
  /** What was wrong besides what the checker finds. */
  readonly troubles: readonly string[]
}

/** A connection, a finish and an end may take so long on a loaded machine; nothing waits for it in vain. */
const PATIENCE_MS = 90_000
const SAMPLE_MS = 500
const LATE = 0.1

export async function playRound ({ number, random, fault, deployment, proxy, redisProxy, crews, clients, seconds, folder, run }: RoundOptions): Promise<RoundRecord> {
  const rooms = roomsOf(number)
  const troubles: string[] = []
  const errorsBefore = deployment.errors.length
  const files = [join(folder, 'runner.jsonl'), ...await crews.begin(folder)]
  const history = new HistoryWriter(files[0] as string)
  history.write({ f: 'run', ...run, fault: fault.name })
  deployment.auth = fault.needs.auth
  await writeMetrics(history, deployment, 'start')
  const sampling = setInterval(() => sample(history, deployment), SAMPLE_MS)

  const plans = chainPlans(random.fork(), clients, deployment.profile, rooms, { gateway: deployment.port, proxy: proxy?.port ?? deployment.port }, fault.needs.auth)
  const late = Math.floor(clients * LATE)
  const rig: Rig = { deployment, random: random.fork(), proxy, redisProxy, holdMs: random.between(0.1, 0.4) * seconds * 1000, rooms }
  let evidence: string | null = null
  try {
    crews.connect(plans.slice(late))
    await until('the clients are ready', () => crews.progress.ready === clients - late, PATIENCE_MS)
    crews.publish(producerPlans(random.fork(), rooms, deployment.port, fault.needs.auth))
    const phase = random.between(0.15, 0.5) * seconds * 1000
    await delay(phase / 2)
    crews.connect(plans.slice(0, late))
    await delay(phase / 2)

    history.write({ f: 'fault', type: 'start', fault: fault.name, ...(fault.causes === undefined ? {} : { causes: [...fault.causes] }) })
    try {
      await fault.start(rig)
      await delay(rig.holdMs)
    } finally {
      await fault.heal(rig)
      evidence = await fault.evidence(rig)
      history.write({ f: 'fault', type: 'stop', fault: fault.name, evidence })
    }
    await deployment.ready(PATIENCE_MS)
    await delay(Math.max(1000, seconds * 1000 - phase - rig.holdMs))
    await crews.finish(PATIENCE_MS)
    // Whoever comes for the first time gets the facts from then on, and so does who comes back to another log.
    await until('every client has been ready', () => crews.progress.ready === clients, PATIENCE_MS)
    if (fault.causes !== undefined) await until('every client is connected', () => crews.progress.connected === clients, PATIENCE_MS)
    await crews.settle()
    for (const room of rooms) await publishFinal(history, deployment, room, number)
    await until('every client has the final events', () => crews.progress.done === clients, PATIENCE_MS)
  } catch (error) {
    troubles.push((error as Error).message, `without all final events, among others: ${crews.progress.missing.join()}`)
  } finally {
    await crews.end()
    clearInterval(sampling)
  }
  await untilGone(deployment)
  await writeMetrics(history, deployment, 'end')
  history.close()
  troubles.push(...crews.mistakes)
  for (const { msg, ...more } of deployment.errors.slice(errorsBefore)) if (fault.logs?.test(msg) !== true) troubles.push(`the gateway logged: ${msg} ${JSON.stringify(more).slice(0, 500)}`)
  return { files, evidence, troubles }
}

/** The room's last value, and its last fact. */
async function publishFinal (history: HistoryWriter, { url, auth }: Deployment, room: string, number: number): Promise<void> {
  const events = [FINAL_VALUE, FINAL].map(type => ({ type, room, ...(type === FINAL ? {} : { key: type }), data: dataOf(`${type}-${room}`, 0) }))
  const ops = events.map(({ type, key, data }, index) => {
    const op = -1 - 2 * Number(room.split('.')[1]) - index
    history.write({ f: 'publish', type: 'invoke', op, producer: type, room, event: type, ...(key === undefined ? {} : { key }), value: data.v, sum: sumOf(data) })
    return op
  })
  let ids: string[] = []
  await until(`the final events of ${room} are published`, async () => {
    const answer = await request(`${url}/api/events`, { json: events, headers: { 'idempotency-key': `${FINAL}-${number}-${room}`, ...await authHeaders(auth) }, signal: AbortSignal.timeout(5000) }).catch(() => null)
    if (answer?.status === 202) ids = answer.body.ids
    return ids.length === 2
  }, PATIENCE_MS)
  for (const [index, op] of ops.entries()) history.write({ f: 'publish', type: 'ok', op, id: ids[index] as string })
  history.write({ f: 'final', room, value: `${FINAL}-${room}`, id: ids[1] as string })
}

/** Sessions of clients that have left are ended a moment later. */
async function untilGone (deployment: Deployment): Promise<void> {
  await until('no session is left', async () => ((await deployment.metrics())?.signalbox_sessions ?? 1) === 0, 15_000).catch(() => {})
}

async function writeMetrics (history: HistoryWriter, deployment: Deployment, at: 'start' | 'end'): Promise<void> {
  const values = await deployment.metrics()
  if (values !== null) history.write({ f: 'metrics', at, values })
}

function sample (history: HistoryWriter, deployment: Deployment): void {
  for (const pid of new Set([deployment.server.pid, ...deployment.pids])) {
    const usage = usageOf(pid)
    if (usage !== null) history.write({ f: 'sample', process: String(pid), ...usage })
  }
}
