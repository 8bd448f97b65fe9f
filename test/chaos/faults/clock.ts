// The wall clock of the gateway is set.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { request, until } from '../../process/harness.ts'
import type { Fault, Rig } from '../fault.ts'

const PRELOAD = new URL('clock.mjs', import.meta.url).href
const HOUR_MS = 3_600_000

let file: string | undefined

/** One for all deployments: each fault leaves the clock right. */
function clockFile (): string {
  if (file === undefined) {
    const folder = mkdtempSync(join(tmpdir(), 'signalbox-clock-'))
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
    file = join(folder, 'offset')
    writeFileSync(file, '0')
  }
  return file
}

const offsetOf = async ({ deployment }: Rig): Promise<number> => (await request(`${deployment.url}/api/profile`)).body.time - Date.now()

export function clockJump (): Fault {
  const seen: string[] = []
  return {
    name: 'clock-jump',
    about: 'the wall clock of the gateway jumps by up to an hour, there and back',
    // A clock of its own; an Idempotency-Key must not run out by the jump.
    needs: { reconnects: 'none', fresh: true, env: { NODE_OPTIONS: `--import=${PRELOAD}`, CHAOS_CLOCK: clockFile(), IDEMPOTENCY_TTL: 86_400 } },
    async start (rig) {
      const offset = Math.round(rig.random.between(0.2, 1) * HOUR_MS) * rig.random.pick([1, -1])
      writeFileSync(clockFile(), String(offset))
      await until('the clock has jumped', async () => Math.abs(await offsetOf(rig) - offset) < 60_000)
      seen.push(`${Math.round(offset / 1000)} s`)
    },
    async heal (rig) {
      writeFileSync(clockFile(), '0')
      await until('the clock is right', async () => Math.abs(await offsetOf(rig)) < 60_000)
      seen.push('and back')
    },
    evidence: async () => seen.length === 2 ? seen.join(' ') : null
  }
}
