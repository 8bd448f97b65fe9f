// What is kept of an event's names must not keep the event.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import type { Entry } from '../../src/core/event.ts'
import { parsePage, parseRecord, recordOf } from '../../src/store/embedded/record.ts'
import { entryOf, valueOf } from '../../src/store/redis/log/entry.ts'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

const COUNT = 3000
const ROOM = 'a-room-with-a-long-name'
const TYPE = 'a.type.with.a.long.name'
const DATA = 'x'.repeat(20_000)

const idOf = (n: number): string => `1763770000000-${n}`
const keyOf = (n: number): string => `a key with a long name ${n}`
/** As a socket or a disk gives it. */
const read = (text: string): string => Buffer.from(text).toString()
const text = (n: number): string => read(JSON.stringify({ type: TYPE, room: ROOM, key: keyOf(n), data: DATA }))
const record = (n: number): string => {
  const id = idOf(n)
  const json = `{"id":"${id}",${text(n).slice(1)}`
  return read(recordOf({ id, type: TYPE, room: ROOM, key: keyOf(n), deletion: false, json, size: json.length }, n))
}

for (const [what, entryAt] of Object.entries<(n: number) => Entry | null | undefined>({
  'an event of Redis': n => entryOf(read(idOf(n)), text(n)),
  'a value of Redis': n => valueOf(`${ROOM} ${TYPE} ${JSON.stringify(keyOf(n))}`, read(`${idOf(n)} ${text(n)}`)),
  'a record of the disk': n => parseRecord(record(n))?.entry,
  'a page of the disk': n => parsePage(record(n))?.[0]?.entry
})) {
  t.test(`the names of ${what} do not keep its text`, async t => {
    gc()
    const before = process.memoryUsage().heapUsed
    const names = Array.from({ length: COUNT }, (_, n) => {
      const { id, room, type, key } = entryAt(n) as Entry
      return [id, room, type, key]
    })
    gc()
    const grown = process.memoryUsage().heapUsed - before
    t.same(names.at(-1), [idOf(COUNT - 1), ROOM, TYPE, keyOf(COUNT - 1)])
    // All texts are 60 MB.
    t.ok(grown < 20_000_000, `the heap grew by ${grown} bytes`)
  })
}

t.test('names are what they were, whatever is in them', async t => {
  const key = 'clé ключ 🔑 "of\\ more than a few letters'
  const type = 'тип, as a stranger may write it'
  t.match(entryOf('1-1', JSON.stringify({ type, room: ROOM, key, data: 1 })), { type, room: ROOM, key })
  for (const of of [key, 'ключ 🔑 of more than a few letters', '\ud800']) {
    const json = `{"id":"1-1",${JSON.stringify({ data: 1 }).slice(1)}`
    t.equal(parseRecord(read(recordOf({ id: '1-1', type: TYPE, room: ROOM, key: of, deletion: false, json, size: json.length }, 1)))?.entry.key, of)
  }
})
