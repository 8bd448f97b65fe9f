// What a process runs out of: file descriptors, and a reader of its log.

import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { request, until } from '../../process/harness.ts'
import { onPath } from '../../tools/find.ts'
import { usageOf } from '../deployment.ts'
import type { Fault, Rig } from '../fault.ts'

const SPARE = 6
const KNOCKS = 60
const LINES = 3000

function limit (pid: number, files: string): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(pid), `--nofile=${files}`], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`prlimit: ${stderr}`)
}

/** How many of so many new connections were dropped without an answer. */
async function knock ({ deployment }: Rig): Promise<number> {
  const sockets: Socket[] = []
  let dropped = 0
  for (let n = 0; n < KNOCKS; n++) {
    let heard = false
    const socket = connect(deployment.port, '127.0.0.1', () => socket.write('GET /api/events/stream?rooms=x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'))
    socket.on('data', () => { heard = true }).on('error', () => {}).on('close', () => { if (!heard) dropped++ })
    sockets.push(socket)
  }
  await delay(1500)
  const count = dropped
  for (const socket of sockets) socket.destroy()
  return count
}

export function descriptors (): Fault {
  let pids: number[] = []
  let dropped = 0
  return {
    name: 'descriptors',
    about: 'the gateway may open no more files, and 60 connections come; then it may again',
    needs: { reconnects: 'none', missing: onPath('prlimit') ? false : 'it needs prlimit' },
    logs: /EMFILE|descriptor|open files/i,
    async start (rig) {
      pids = rig.deployment.pids
      for (const pid of pids) limit(pid, `${(usageOf(pid)?.fds ?? 0) + SPARE}:`)
      dropped = await knock(rig)
    },
    heal: async () => { for (const pid of pids) limit(pid, '16384:') },
    evidence: async () => dropped > 0 ? `${dropped} connections dropped` : null
  }
}

export function logBlocked (): Fault {
  let waited = 0
  return {
    name: 'log-blocked',
    about: 'nobody reads the log, of which there is plenty; then somebody does',
    needs: { reconnects: 'none' },
    async start ({ deployment }) {
      deployment.server.child.stdout?.pause()
      // Each is a line: more of them than the pipe holds.
      const tune = async (): Promise<unknown> => await request(`${deployment.url}/api/control`, { json: { command: 'tune', args: { MAX_QUEUE_PER_CLIENT: 100 } } })
      for (let n = 0; n < LINES; n += 50) await Promise.all(Array.from({ length: 50 }, tune))
    },
    async heal ({ deployment }) {
      const before = deployment.server.log().length
      deployment.server.child.stdout?.resume()
      await until('the log goes on', () => deployment.server.log().length > before + LINES / 2, 20_000).catch(() => {})
      waited = deployment.server.log().length - before
    },
    evidence: async () => waited > LINES / 2 ? `${waited} lines waited` : null
  }
}
