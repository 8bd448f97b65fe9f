// The built product in a separate process.

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ServerProcess } from './process.ts'

const LAUNCHER = fileURLToPath(new URL('../dist/launcher.js', import.meta.url))

export async function startServer (settings: Record<string, string | number>): Promise<ServerProcess> {
  if (!existsSync(LAUNCHER)) throw new Error(`${LAUNCHER} is missing: npm run build makes it`)
  const env = Object.fromEntries(Object.entries({ PORT: 0, ...settings }).map(([name, value]) => [name, String(value)]))
  return await ServerProcess.start({ command: [process.execPath, LAUNCHER], env, spreads: Number(settings.WORKERS ?? 1) > 1 })
}
