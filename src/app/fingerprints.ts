// ETags of files by their content, the same for each compression of a file, hence weak (RFC 9110, 8.8.3.3).

import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'

export class Fingerprints {
  readonly #known = new Map<string, { readonly mtimeMs: number, readonly size: number, readonly tag: string }>()

  /** @throws Error if there is no such file */
  async of (path: string): Promise<string> {
    const { mtimeMs, size } = await stat(path)
    const known = this.#known.get(path)
    // The bundler may write the files anew while the gateway runs (`npm run dev`).
    if (known?.mtimeMs === mtimeMs && known.size === size) return known.tag
    const tag = `W/"${createHash('sha256').update(await readFile(path)).digest('base64url').slice(0, 22)}"`
    this.#known.set(path, { mtimeMs, size, tag })
    return tag
  }
}
