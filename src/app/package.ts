// The root of the package, its version, its description and the number of its wire protocol, for the sources and for dist/ alike.

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

function findRoot (from: string): string {
  for (let folder = from; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
  }
}

export const packageRoot = findRoot(dirname(fileURLToPath(import.meta.url)))
export const { version, description } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string, description: string }

/**
 * The number of the wire protocol. It rises only where a client that goes by docs/protocol.md would misread what it gets;
 * new fields, events, reasons and codes, which clients pass over, leave it.
 */
export const WIRE_PROTOCOL = 1
