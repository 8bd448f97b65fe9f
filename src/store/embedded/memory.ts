// The disk of DATA_DIR `:memory:`. Nothing is ever loaded from it again. It therefore keeps only what is looked up while the
// store runs: idempotency and command records with their expiries, and the secret.

import { SECRET_KEY } from './record.ts'
import type { Disk, DiskRecord } from './disk.ts'

export function memoryDisk (): Disk {
  const records = new Map<string, string>()
  /** In the order of writing, which is the order of expiry: all records are kept for the same time. */
  const expiries = new Map<string, string>()
  return {
    async write (changes) {
      for (const change of changes) {
        const space = change.key[0] === 'x' ? expiries : records
        if (change.type === 'del') space.delete(change.key)
        else if (/^[ocx]/.test(change.key) || change.key === SECRET_KEY) space.set(change.key, change.value)
      }
    },
    get: async keys => keys.map(key => records.get(key)),
    async read ({ from, to }, limit) {
      const found: DiskRecord[] = []
      for (const [key, value] of expiries) {
        if (found.length === limit || key >= to || key < from) break
        found.push([key, value, true])
      }
      return found
    },
    check () {},
    backUp: async () => 0,
    close: async () => {}
  }
}
