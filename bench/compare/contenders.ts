// The servers compared: Signalbox in both profiles and its peers, each used as its documentation says (bench/peers).

import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Opening } from './audience.ts'
import type { Command } from '../process.ts'

const PEERS = fileURLToPath(new URL('../peers/', import.meta.url))
const ROOT = fileURLToPath(new URL('../../', import.meta.url))

const COLLECT = new URL('../peers/collect.js', import.meta.url).href

/** Arguments by which servers in Node write a CPU profile when they end. */
const profiling: string[] = []

export function profileInto (folder: string): void {
  profiling.push('--cpu-prof', `--cpu-prof-dir=${folder}`)
}

export const ROOM = 'bench'

export interface Contender {
  readonly name: string
  /** @param settings for Signalbox only */
  command (settings: Record<string, string | number>): Command
  readonly opening: Opening
  readonly publishPath: string
  readonly publishHeaders?: Record<string, string>
  /** One that is compared with, not a product: left out where only products are of interest. */
  readonly bare?: boolean
  /** It has `/metrics` of ours. Others may never answer there. */
  readonly hasMetrics?: boolean
}

/** One that cannot be measured here, and why. */
export interface Absent {
  readonly name: string
  readonly why: string
}

/** MONITOR_TICK_MS or FLUSH_INTERVAL_MS: 0 turns bundling off. */
export type Profile = 'SSE' | 'WEBSOCKET'

/** Settings of every Signalbox here besides the defaults: the default room is limited to 50, and port 0 is any. */
const SETTINGS = { PORT: 0, MAX_ROOM_SIZE: 0 }

/** @param root of another checkout, built, to compare with; default: this one's */
export function signalbox (profile: Profile, root = ROOT): Contender {
  const opening: Opening = profile === 'SSE'
    ? { path: `/api/events/stream?rooms=${ROOM}`, webSocket: false, ready: 'event: ready' }
    : { path: '/api/events/ws', webSocket: true, ask: JSON.stringify({ action: 'join', room: ROOM }), ready: '"event":"ready"' }
  return {
    name: `Signalbox ${profile}${root === ROOT ? '' : ` (${basename(root)})`}`,
    command: settings => node(join(root, 'dist', 'launcher.js'), { APP_PROFILE: profile, ...SETTINGS, ...settings }),
    opening,
    publishPath: '/api/events',
    hasMetrics: true
  }
}

export const SSE = signalbox('SSE')
export const WEBSOCKET = signalbox('WEBSOCKET')

const peer = (name: string, file: string, opening: Opening): Contender => ({
  name, command: () => node(join(PEERS, file)), opening, publishPath: '/publish'
})
const stream = (ready: string): Opening => ({ path: '/', webSocket: false, ready })

export const WS = peer('ws.send(buffer)', 'ws.js', { path: '/', webSocket: true, ready: '101' })
const SOCKET_IO = peer('socket.io', 'socket.io.js', { path: '/socket.io/?EIO=4&transport=websocket', webSocket: true, ask: '40', ready: '40{' })
const BETTER_SSE = peer('better-sse', 'better-sse.js', stream('200 OK'))
const FASTIFY_SSE_V2 = peer('fastify-sse-v2', 'fastify-sse-v2.js', stream('data: ready'))
const FASTIFY_SSE = peer('@fastify/sse', 'fastify-sse.js', stream('data: ready'))

function node (file: string, env: Record<string, string | number> = {}): Command {
  return { collects: true, command: [process.execPath, ...profiling, '--import', COLLECT, file], env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, String(value)])) }
}

/** The smallest loop in C, where there is a compiler. @param folder for the binary */
export function bareLoop (folder: string): Contender | Absent {
  const name = 'C loop'
  const binary = join(folder, 'loop')
  try {
    if (!existsSync(binary)) execFileSync('cc', ['-O2', '-o', binary, join(PEERS, 'loop.c')], { stdio: 'ignore' })
  } catch {
    return { name, why: 'no C compiler for Linux here' }
  }
  return { name, command: () => ({ command: [binary] }), opening: stream(': ready'), publishPath: '/publish', bare: true }
}

/** Takes in as much and does nothing with it. */
export const BARE_ROUTE: Command = node(join(PEERS, 'fastify.js'))

export const PEERS_IN_NODE: readonly Contender[] = [WS, SOCKET_IO, BETTER_SSE, FASTIFY_SSE_V2, FASTIFY_SSE]

/** Installs the peers' packages where that has not happened yet: they are none of the product's. */
export function installPeers (say: (line: string) => void): void {
  if (existsSync(join(PEERS, 'node_modules', 'ws'))) return
  say('installing the peers\' packages into bench/peers/node_modules (once) ...')
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: PEERS, stdio: 'inherit' })
}
