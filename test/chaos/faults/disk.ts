// The disk of the embedded store: full, and with a bit that has turned.

import { closeSync, openSync, readdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { request } from '../../process/harness.ts'
import { canMount } from '../small-disk.ts'
import type { Fault } from '../fault.ts'

const PIECE = Buffer.alloc(1 << 16, 'x')

function fill (path: string): void {
  const file = openSync(path, 'w')
  try {
    for (let size = PIECE.length; size >= 1; size = Math.floor(size / 16)) {
      try {
        for (;;) writeSync(file, PIECE.subarray(0, size))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
      }
    }
  } finally {
    closeSync(file)
  }
}

export function diskFull (): Fault {
  let evidence: string | null = null
  return {
    name: 'disk-full',
    about: 'the disk of DATA_DIR is full for 2 to 5 s: nothing is acknowledged that is not kept',
    needs: { store: 'embedded', smallDisk: true, reconnects: 'none', missing: canMount() ? false : 'it mounts a small disk, as root on Linux' },
    logs: /disk|space|store|ENOSPC|No space/i,
    async start ({ deployment, random }) {
      fill(join(deployment.folder, '..', 'filling'))
      const { bavail } = statfsSync(deployment.folder)
      await delay(random.between(2000, 5000))
      // With what is left of its last block it may go on for a while.
      const answer = await request(`${deployment.url}/api/events`, { json: { type: 'bulk', data: 'x'.repeat(100_000) } }).catch(() => null)
      if (bavail === 0 && answer?.status === 503) evidence = 'no space left, and a publish got 503'
    },
    heal: async ({ deployment }) => rmSync(join(deployment.folder, '..', 'filling')),
    evidence: async () => evidence
  }
}

export function bitFlip (): Fault {
  let evidence: string | null = null
  return {
    name: 'bit-flip',
    about: 'kill -9, one bit of the log on the disk turned, started again: what that cost is told to everybody',
    needs: { store: 'embedded', fresh: true, reconnects: 'all' },
    causes: ['unknown', 'ahead', 'trimmed'],
    logs: /damage/,
    async start ({ deployment, random }) {
      await deployment.kill9()
      const logs = readdirSync(deployment.folder).filter(name => name.endsWith('.log')).map(name => join(deployment.folder, name))
      const path = logs.toSorted((a, b) => statSync(b).size - statSync(a).size)[0]
      if (path === undefined) return
      const bytes = readFileSync(path)
      const at = random.below(bytes.length)
      const bit = random.below(8)
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << bit), at)
      writeFileSync(path, bytes)
      evidence = `bit ${bit} of byte ${at} of ${bytes.length}`
    },
    heal: async ({ deployment }) => await deployment.start(),
    evidence: async () => evidence
  }
}
