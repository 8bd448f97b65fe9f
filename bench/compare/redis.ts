// Taking events in with the store on Redis, and what that Redis can do: redis-benchmark sends it the very append that
// Signalbox sends, so what is compared is the same writes.

import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { LOAD_CORE, pinned } from '../cores.ts'
import { childEnv, find } from '../../test/tools/find.ts'
import { RedisServer } from '../../test/tools/redis.ts'
import { atLeast, figureIn, plain } from './chapter.ts'
import type { Verdict } from './chapter.ts'
import { SSE } from './contenders.ts'
import { ingest } from './ingest.ts'
import { eventText } from './mark.ts'
import { Post } from '../post.ts'
import { ServerProcess } from '../process.ts'
import type { Round, Series } from './rounds.ts'

/** Of what Redis alone can do, at least so much. */
const LEAST = 0.75
const KINDS = [
  { words: 'one by one', batch: 1, publishers: 64 },
  { words: 'batches of 100', batch: 100, publishers: 16 }
] as const

interface RedisVariants {
  variants (windowMs: number): Array<{ readonly name: string, measure (): Promise<Round> }>
  verdicts (series: readonly Series[]): Verdict[]
  stop (): Promise<void>
  readonly missing: string | null
}

export async function redisIntakes (): Promise<RedisVariants> {
  const tool = find('redis')
  if ('missing' in tool) return { variants: () => [], verdicts: () => [], stop: async () => {}, missing: `Not measured on Redis: ${tool.missing}` }
  const closes: Array<() => unknown> = []
  const server = await RedisServer.start({ teardown: close => { closes.push(close) } }, { args: ['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', ''] })
  if (pinned) await promisify(execFile)('taskset', ['-a', '-c', '-p', String(LOAD_CORE), String(server.pid)])
  const settings = { REDIS_URL: server.url }
  const own = (words: string): string => `Signalbox on Redis, ${words}`
  const alone = (words: string): string => `redis-benchmark, ${words}`

  return {
    missing: null,
    variants: windowMs => KINDS.flatMap(({ words, batch, publishers }) => [
      { name: own(words), measure: async () => await ingest({ name: '', command: () => SSE.command(settings), path: SSE.publishPath, batch, publishers }, windowMs) },
      {
        name: alone(words),
        measure: async () => {
          const command = await appendOf(settings, batch)
          const perSecond = await benchmark(join(dirname(tool.bin), 'redis-benchmark'), server.port, command, publishers, batch === 1 ? 40_000 : 1500)
          return { figures: { perSecond: perSecond * batch }, loadCpu: 0, others: null, faults: [] }
        }
      }
    ]),
    verdicts: series => KINDS.flatMap(({ words }) => {
      const limit = figureIn(series, alone(words), 'perSecond')
      return limit === null ? [] : atLeast(series, own(words), 'perSecond', limit.most * LEAST, `at least ${LEAST * 100} % of redis-benchmark's best, ${plain(limit.most)}`, plain)
    }),
    stop: async () => { for (const close of closes.reverse()) await close() }
  }

  /** The command by which Signalbox appends so many events, seen by Redis itself. */
  async function appendOf (settings: Record<string, string>, batch: number): Promise<string[]> {
    const client = new Redis(server.url)
    // While nothing is said yet: ioredis takes what comes along with the answer to MONITOR for an answer to nothing.
    const monitor = await client.monitor()
    const signalbox = await ServerProcess.start(SSE.command(settings))
    try {
      const event = eventText({ key: 0, n: 0 }, { bytes: 200, room: 'bench', keyed: false })
      const seen = new Promise<string[]>(resolve => {
        monitor.on('monitor', (_time, args: string[]) => { if (/^eval/i.test(args[0] ?? '') && args.some(arg => arg.includes('"padding"'))) resolve(args) })
      })
      const post = await Post.open(signalbox.port, SSE.publishPath)
      await post.send(batch === 1 ? event : `[${Array.from({ length: batch }, () => event).join(',')}]`)
      const args = await seen
      post.close()
      return args
    } finally {
      monitor.disconnect()
      client.disconnect()
      await signalbox.stop()
    }
  }

  async function benchmark (bin: string, port: number, command: readonly string[], clients: number, requests: number): Promise<number> {
    // The servers' core: Redis has the other one, as it has for Signalbox.
    const args = [...(pinned ? ['taskset', '-c', '0'] : []), bin, '-p', String(port), '-c', String(clients), '-n', String(requests), '--csv', ...command]
    const { stdout } = await promisify(execFile)(args[0] as string, args.slice(1), { env: childEnv(tool as { bin: string, env: Record<string, string> }), timeout: 60_000 })
    // The first of the line's seven figures; before them stands the command, which may hold anything.
    const perSecond = Number(/,"([\d.]+)"(?:,"[\d.]+"){6}\s*$/.exec(stdout)?.[1])
    if (!(perSecond > 0)) throw new Error(`redis-benchmark said ${stdout.slice(0, 300)}`)
    return perSecond
  }
}
