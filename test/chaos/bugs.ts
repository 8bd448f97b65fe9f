// Bugs to plant in the gateway: each is one that such systems have had, and each must be found by a rule of the checker within ten
// rounds. A test sees to it that their places in the source still exist.

import type { Env } from '../process/harness.ts'

interface Edit {
  readonly file: string
  /** Stands in the file exactly once. */
  readonly find: string
  readonly replace: string
}

export interface Bug {
  readonly name: string
  /** What it does, in a sentence. */
  readonly about: string
  readonly edits: readonly Edit[]
  /** The rule that must name it. */
  readonly rule: string
  /** The fault under which it shows. */
  readonly fault: string
  readonly store?: 'embedded' | 'redis'
  readonly profile?: 'SSE' | 'WEBSOCKET'
  /** Settings that make it likely to show; without the bug nothing is wrong with them. */
  readonly env?: Env
}

const bug = (name: string, about: string, rule: string, fault: string, edits: readonly Edit[], more: Pick<Bug, 'store' | 'profile' | 'env'> = {}): Bug =>
  ({ name, about, rule, fault, edits, ...more })

export const BUGS: readonly Bug[] = [
  bug('resume-at-the-head', 'A returning client goes on with what comes next; the facts it missed are not sent', 'nothing lost', 'kill', [{
    file: 'src/core/standing.ts',
    find: "  if (cursor?.subscription !== digestOfSignature(signature)) reset(tracks, 'subscription', 0)\n",
    replace: "  if (cursor?.subscription !== digestOfSignature(signature)) reset(tracks, 'subscription', 0)\n  for (const track of tracks) track.facts = rooms.head\n"
  }]),
  bug('resume-one-early', 'A returning client begins one id early: off by one at the seam of replay and live', 'nothing twice', 'kill', [{
    file: 'src/core/standing.ts',
    find: "  if (cursor?.subscription !== digestOfSignature(signature)) reset(tracks, 'subscription', 0)\n",
    replace: `  if (cursor?.subscription !== digestOfSignature(signature)) reset(tracks, 'subscription', 0)
  for (const track of tracks) {
    const [ms, n] = track.facts.split('-').map(Number)
    if (ms > 0) track.facts = n > 0 ? \`\${ms}-\${n - 1}\` : \`\${ms - 1}-999999\`
  }
`
  }]),
  bug('silent-drop-when-full', 'What a bundle does not hold is dropped, not sent with the next one', 'nothing lost', 'kill', [{
    file: 'src/core/read.ts', find: '    facts: facts.next === null ? null : facts.passed,\n', replace: '    facts: null,\n'
  }], { env: { MAX_QUEUE_PER_CLIENT: 3 } }),
  bug('cursor-one-bundle-late', 'A bundle carries the cursor from before it, as if replayed events had no ids', 'nothing twice', 'kill', [
    { file: 'src/core/session.ts', find: '      const reading = read(sourcesOf(', replace: '      const cursor = this.cursor\n      const reading = read(sourcesOf(' },
    { file: 'src/core/session.ts', find: 'bundle: { entries: reading.entries, cursor: this.cursor }', replace: 'bundle: { entries: reading.entries, cursor }' }
  ]),
  bug('acknowledged-before-written', 'A publish is answered at once; the disk is written a quarter of a second later', 'nothing lost', 'kill', [
    { file: 'src/store/embedded/store.ts', find: '      answers.push(write.plan(batch))\n', replace: '      write.plan(batch)()\n' },
    {
      file: 'src/store/embedded/store.ts',
      find: 'async () => await this.#disk.write(changes, memory.planned))\n',
      replace: 'async () => {\n        await new Promise(resolve => setTimeout(resolve, 250))\n        await this.#disk.write(changes, memory.planned)\n      })\n'
    }
  ], { store: 'embedded' }),
  bug('repeats-not-known', 'Idempotency-Keys are not stored: a repeat is a new event', 'nothing twice', 'kill', [{
    file: 'src/store/embedded/store.ts',
    find: "      if (record !== null) batch.keep(record, { fingerprint: once?.fingerprint ?? '', ids }, this.#options.idempotencyTtlMs)\n",
    replace: ''
  }], { store: 'embedded' }),
  bug('shared-between-rooms', 'Sessions at the same position share a bundle, whatever rooms they are in: a cache key without its most important part', 'isolation', 'none', [{
    file: 'src/core/shared-bundles.ts', find: ' && a.shape === b.shape', replace: ''
  }]),
  bug('trimmed-in-silence', 'Where history no longer reaches back, what is left is sent, and no reset', 'nothing lost', 'kill', [{
    file: 'src/core/standing.ts', find: "  reset(tracks, 'trimmed', missed)\n", replace: ''
  }], { env: { HISTORY_SIZE: 20 } }),
  bug('every-restart-a-new-log', 'After a restart no cursor counts, and all are reset', 'resets are honest', 'kill', [{
    file: 'src/store/embedded/stored-log.ts', find: '[...isContinued ? epochs : [], { epoch, seam: head }]', replace: '[{ epoch, seam: head }]'
  }], { store: 'embedded' }),
  bug('throttle-without-an-end', 'What comes faster than the limit allows is thrown away, the last value too', 'values', 'none', [{
    file: 'src/core/session.ts',
    find: '      ticker.at(this, this.#nextAt)\n',
    replace: '      advance(this.#tracks, null, null, this.#context.rooms.head)\n      this.#rest()\n'
  }], { env: { MAX_EVENTS_PER_SECOND_PER_CLIENT: 3 } }),
  bug('value-keeps-its-place', 'A new value of a key takes the place of the old one, where clients have already read', 'values', 'none', [{
    file: 'src/core/room.ts',
    find: '      this.#unlink(value)\n      this.stateBytes -= valueBytes(value.entry)\n      this.#replacements?.add(value, entry.id)\n',
    replace: '      value.entry = entry\n      this.#saw(entry.id)\n      return\n'
  }]),
  bug('deletions-not-sent', 'A deleted key is left out of the present values, and clients that have it are not told', 'values', 'none', [
    { file: 'src/core/read.ts', find: '...hasValues && source.deletions === undefined ?', replace: '...false ?' },
    { file: 'src/core/read.ts', find: '      valueStream(source),\n      logStream(source.room.deletions, source.deletions ?? latest(source.facts, source.state), source.filter)\n', replace: '      valueStream(source)\n' }
  ]),
  bug('bundle-not-merged', 'A bundle has its facts first and then its values', 'order', 'none', [{
    file: 'src/core/read.ts', find: '[...facts.entries, ...values.entries].sort((a, b) => compareIds(a.id, b.id))', replace: '[...facts.entries, ...values.entries]'
  }]),
  bug('batch-in-part', 'Of a batch that is refused the events before the bad one stay', 'nothing refused appears', 'none', [{
    file: 'src/store/embedded/store.ts', find: '      this.#memory.retract(mark)\n      batch.retract(length)\n', replace: ''
  }], { store: 'embedded', env: { MAX_KEYS_PER_ROOM: 6 } }),
  bug('patch-of-another-value', 'A patch starts from a value that the client need not hold', 'nothing invented', 'kill', [{
    file: 'src/core/bases.ts', find: '  if (base === null || isAfter(base.entry.id, position) || !isAfter(base.until, position)) return entry\n', replace: '  if (base === null) return entry\n'
  }]),
  bug('one-is-not-woken', 'Of the idle sessions of a room the first is not woken', 'nothing lost', 'none', [{
    file: 'src/core/rooms.ts', find: '      for (const member of idle) member.wake(head, isFact)\n', replace: '      for (const member of idle.size > 1 ? [...idle].slice(1) : idle) member.wake(head, isFact)\n'
  }]),
  bug('sessions-are-kept', 'A session whose client has gone is not forgotten', 'bounds', 'none', [{
    file: 'src/core/session.ts', find: '    this.#context.forget(this)\n', replace: ''
  }]),
  bug('undocumented-close', 'A restart closes sockets with a code that says: internal error', 'clear errors', 'restart', [{
    file: 'profiles/websocket/connection.ts', find: 'restart: 1012', replace: 'restart: 1011'
  }], { profile: 'WEBSOCKET' }),
  bug('history-by-the-wall-clock', 'The age of history goes by a clock that somebody sets', 'resets are honest', 'clock-jump', [{
    file: 'src/core/clock.ts', find: '    let time = this.#look() - ms\n', replace: '    let time = this.#clock.wall() - ms\n    if (time > 0) return time\n'
  }], { store: 'embedded', env: { TICK_FLOOR_MS: 2000, MONITOR_TICK_MS: 2000, FLUSH_INTERVAL_MS: 2000 } }),
  bug('newest-after-a-lost-connection', 'A worker that lost its connection to Redis goes on with the newest entry, and does not compare', 'nothing lost', 'redis-kick', [
    { file: 'src/store/redis/log/reader.ts', find: '      if (after !== this.#last) {\n', replace: '      this.skips = false\n      if (after === null) {\n' },
    { file: 'src/store/redis/log/reader.ts', find: "        if (this.#client.status !== 'ready') {\n", replace: "        if (this.#client.status !== 'ready') {\n          this.skips = true\n" },
    { file: 'src/store/redis/log/reader.ts', find: '        onTrouble(reasonOf(error))\n', replace: '        this.skips = true\n        onTrouble(reasonOf(error))\n' },
    { file: 'src/store/redis/log/reader.ts', find: 'keys.log, this.#last)', replace: "keys.log, this.skips === true ? '$' : this.#last)" }
  ], { store: 'redis' }),
  bug('each-entry-to-one-worker', 'Workers share the entries of the log between them, as a consumer group would', 'nothing lost', 'none', [{
    file: 'src/store/redis/log/reader.ts', find: '      else entries.push(entry)\n', replace: '      else if (entry.key !== null || (Number.parseInt(id) + process.pid) % 2 === 0) entries.push(entry)\n'
  }], { store: 'redis' })
]
