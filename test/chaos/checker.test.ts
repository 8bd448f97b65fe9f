// The checker by hand-made records: good ones pass, and of bad ones each is named by its rule and by no other.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HistoryWriter, readHistory } from './history.ts'
import type { Line, Received } from './history.ts'
import { Random } from './random.ts'
import { CLOSE_CODES } from './rules/errors.ts'
import { RULES } from './rules/index.ts'
import { goodHistory, QUIET, record, Script } from './small-history.ts'
import type { Step } from './small-history.ts'
import { describe, EXIT_CODES, judge } from './verdict.ts'

const namesOf = (lines: readonly Line[]): string[] => judge(record(lines)).findings.map(({ rule }) => rule.name)
const script = (run: Partial<Extract<Line, { f: 'run' }>> = {}): Script => new Script().add({ ...QUIET, ...run } as Step)
const CUT: Step = { f: 'close', chain: 'c', by: 'fault' }

t.test('good records pass', async t => {
  const pass = (what: string, given: Script): void => {
    const result = judge(given.recorded())
    t.strictSame([result.verdict, result.findings.flatMap(({ violations }) => violations)], ['pass', []], what)
  }
  {
    const s = script().connect('c', ['a'])
    const [one, two] = [s.publish('a', 'p-1'), s.publish('a', 'p-2')]
    pass('facts in order', s.receive('c', 1, one, two, s.final('a')))
  }
  {
    const s = script().connect('c', ['a'])
    const [, newest, fact] = [s.publish('a', 'p-1', { key: 'k' }), s.publish('a', 'p-2', { key: 'k' }), s.publish('a', 'p-3')]
    pass('a value that was folded', s.receive('c', 1, newest, fact).receive('c', 2, s.final('a')))
  }
  {
    const s = script().connect('c', ['a'])
    const [one, value] = [s.publish('a', 'p-1'), s.publish('a', 'p-2', { key: 'k' })]
    pass('a laggard that gets a newer value before older facts', s.receive('c', 1, value).receive('c', 2, one).receive('c', 3, s.final('a')))
  }
  {
    const s = script()
    const [, value] = [s.publish('a', 'p-1'), s.publish('a', 'p-2', { key: 'k' })]
    s.connect('c', ['a']).receive('c', 1, value).add({ f: 'ready', chain: 'c', rooms: ['a'] })
    pass('a newcomer gets the snapshot, and no fact from before', s.receive('c', 2, s.final('a')))
  }
  {
    const s = script().connect('c', ['a'])
    const [one, two] = [s.publish('a', 'p-1'), s.publish('a', 'p-2')]
    s.receive('c', 1, one).add(CUT).connect('c', ['a'], 'cursor-1')
    pass('a chain that comes back gets what it missed', s.receive('c', 2, two, s.final('a')))
  }
  {
    const s = script().connect('c', ['a'])
    const value = s.publish('a', 'p-1', { key: 'k' })
    s.receive('c', 1, value).publish('a', null, { key: 'k' })
    s.add({ f: 'fault', type: 'start', fault: 'flush', causes: ['unknown'], evidence: 1 }, { f: 'reset', chain: 'c', reason: 'unknown', rooms: ['a'], missed: null })
    pass('a reset that a fault caused forgets what was deleted meanwhile', s.receive('c', 2, s.final('a')))
  }
  {
    const s = script().connect('c', ['a'])
    s.receive('c', 1, s.publish('a', 'p-1', { key: 'k' })).add({ f: 'fault', type: 'start', fault: 'flush', causes: ['unknown'], evidence: 1 })
    s.add({ f: 'reset', chain: 'c', reason: 'unknown', rooms: ['a'], missed: null })
    pass('values that were lost with the log, which was declared', s.receive('c', 2, s.final('a')))
  }
  {
    const s = script({ history: { size: 3, ttlMs: 1e6 } }).connect('c', ['a'])
    const facts = Array.from({ length: 5 }, (_, index) => s.publish('a', `p-${index}`))
    s.receive('c', 1, facts[0] as never).add({ f: 'reset', chain: 'c', reason: 'trimmed', rooms: ['a'], missed: 2 })
    pass('history that was too short', s.receive('c', 2, facts[3] as never, facts[4] as never, s.final('a')))
  }
  {
    const s = script().connect('c', ['a'])
    s.add({ f: 'join', type: 'invoke', chain: 'c', room: 'b' }, { f: 'join', type: 'ok', chain: 'c', room: 'b' })
    const [a, b] = [s.publish('a', 'p-1'), s.publish('b', 'p-2')]
    s.receive('c', 1, b).receive('c', 2, a).add({ f: 'leave', type: 'invoke', chain: 'c', room: 'b' }, { f: 'leave', type: 'ok', chain: 'c', room: 'b' })
    s.publish('b', 'p-3')
    s.final('b')
    pass('a later join that catches up, and a room that was left', s.receive('c', 3, s.final('a')))
  }
  {
    const s = script().connect('c', [{ room: 'a', types: ['alarm'] }])
    s.publish('a', 'p-1')
    const [alarm, publicAlarm] = [s.publish('a', 'p-2', { event: 'alarm' }), s.publish('@public', 'p-3', { event: 'alarm' })]
    s.publish('@public', 'p-4')
    s.final('a')
    s.final('@public')
    pass('types, of public events too', s.receive('c', 1, alarm, publicAlarm))
  }
  {
    const s = script()
    const old = s.publish('a', 'p-1')
    s.connect('c', ['a'], '0-0', 'new')
    pass('all of history where it was asked for', s.receive('c', 1, old, s.final('a')))
  }
  {
    const s = script().connect('c', ['a'])
    s.add({ f: 'fault', type: 'start', fault: 'cut', evidence: 1 })
    s.add({ f: 'publish', type: 'invoke', op: 90, producer: 'q', room: 'a', event: 'fact', value: 'q-1', idem: 'i' }, { f: 'publish', type: 'info', op: 90, why: 'cut' })
    s.add({ f: 'publish', type: 'invoke', op: 91, producer: 'q', room: 'a', event: 'fact', value: 'q-1', idem: 'i' })
    const seen = s.publish('a', 'p-1')
    s.add({ f: 'publish', type: 'ok', op: 91, id: '999-0' })
    pass('a repeat with its key', s.receive('c', 1, { id: '999-0', room: 'a', event: 'fact', value: 'q-1' }, seen, s.final('a')))
  }
})

t.test('bad records are named by their rule, and by no other', async t => {
  const cases: [rule: string, what: string, make: (s: Script) => unknown, run?: Partial<Extract<Line, { f: 'run' }>>][] = [
    ['nothing invented', 'a value that nobody published', s => s.connect('c', ['a']).receive('c', 1, { id: '1-0', room: 'a', event: 'fact', value: 'p-1' })],
    ['nothing invented', 'other bytes', s => {
      s.connect('c', ['a'])
      const { id, ...fact } = s.publish('a', 'p-1')
      s.add({ f: 'publish', type: 'invoke', op: 50, producer: 'p', ...fact, value: 'p-2', sum: 1 }, { f: 'publish', type: 'ok', op: 50, id: '1001-0' })
      s.receive('c', 1, { id, ...fact }).add({ f: 'recv', chain: 'c', bundle: 2, ...fact, id: '1001-0', value: 'p-2', sum: 2 })
    }],
    ['nothing invented', 'another room', s => {
      s.connect('c', ['a', 'b'])
      s.receive('c', 1, { ...s.publish('a', 'p-1'), room: 'b' })
    }],
    ['nothing invented', 'a deletion that nobody asked for', s => s.connect('c', ['a']).receive('c', 1, { id: '1-0', room: 'a', event: 'value', key: 'k', value: null })],
    ['nothing refused appears', 'a refused event', s => s.connect('c', ['a']).add(
      { f: 'publish', type: 'invoke', op: 1, producer: 'p', room: 'a', event: 'fact', value: 'p-1' }, { f: 'publish', type: 'fail', op: 1, code: 'ROOM_PAUSED' }
    ).receive('c', 1, { id: '1-0', room: 'a', event: 'fact', value: 'p-1' })],
    ['nothing lost', 'one in the middle', s => {
      s.connect('c', ['a'])
      const [one, , three] = [s.publish('a', 'p-1'), s.publish('a', 'p-2'), s.publish('a', 'p-3')]
      s.receive('c', 1, one, three)
    }],
    ['nothing lost', 'the first after the join', s => {
      s.connect('c', ['a']).publish('a', 'p-1')
      s.receive('c', 1, s.publish('a', 'p-2'))
    }],
    ['nothing lost', 'the last before the end', s => {
      s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1')).publish('a', 'p-2')
      s.receive('c', 2, s.final('a'))
    }],
    ['nothing lost', 'what came while it was away', s => {
      s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1')).add(CUT).publish('a', 'p-2')
      s.connect('c', ['a'], 'cursor-1').receive('c', 2, s.publish('a', 'p-3'))
    }],
    ['nothing lost', 'a cursor that was passed over', s => {
      s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1')).add(CUT).publish('a', 'p-2')
      s.connect('c', ['a'], 'cursor-1', 'new').receive('c', 2, s.publish('a', 'p-3'))
    }],
    ['nothing lost', 'at one chain, of unknown outcome, because another has it', s => {
      s.add({ f: 'fault', type: 'start', fault: 'cut', evidence: 1 }).connect('c', ['a']).connect('d', ['a'])
      s.add({ f: 'publish', type: 'invoke', op: 90, producer: 'q', room: 'a', event: 'fact', value: 'q-1' }, { f: 'publish', type: 'info', op: 90, why: 'cut' })
      const [seen, after] = [{ id: '999-0', room: 'a', event: 'fact', value: 'q-1' }, s.publish('a', 'p-1')]
      s.receive('c', 1, seen, after).receive('d', 1, after)
    }],
    ['resets are honest', 'a reset without a cause', s => s.connect('c', ['a']).add({ f: 'reset', chain: 'c', reason: 'unknown', rooms: ['a'], missed: null })],
    ['resets are honest', 'the second reset of one fault', s => s.connect('c', ['a']).add(
      { f: 'fault', type: 'start', fault: 'flush', causes: ['unknown'], evidence: 1 }, { f: 'reset', chain: 'c', reason: 'unknown', rooms: ['a'], missed: null }, { f: 'reset', chain: 'c', reason: 'unknown', rooms: ['a'], missed: null }
    )],
    ['resets are honest', 'history was long enough', s => s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1')).add({ f: 'reset', chain: 'c', reason: 'trimmed', rooms: ['a'], missed: null }), { history: { size: 3, ttlMs: 1e6 } }],
    ['resets are honest', 'it admits fewer than were missed', s => {
      s.connect('c', ['a'])
      const facts = Array.from({ length: 6 }, (_, index) => s.publish('a', `p-${index}`))
      s.receive('c', 1, facts[0] as never).add({ f: 'reset', chain: 'c', reason: 'trimmed', rooms: ['a'], missed: 1 }).receive('c', 2, facts[4] as never, facts[5] as never)
    }, { history: { size: 3, ttlMs: 1e6 } }],
    ['resets are honest', 'the same subscription', s => s.connect('c', ['a']).add(CUT).connect('c', ['a'], 'x', 'reset').add({ f: 'reset', chain: 'c', reason: 'subscription', rooms: ['a'], missed: 0 })],
    ['nothing twice', 'a fact in two bundles', s => {
      s.connect('c', ['a'])
      const fact = s.publish('a', 'p-1')
      s.receive('c', 1, fact).receive('c', 2, fact)
    }],
    ['nothing twice', 'a fact after the chain came back', s => {
      s.connect('c', ['a'])
      const fact = s.publish('a', 'p-1')
      s.receive('c', 1, fact).add(CUT).connect('c', ['a'], 'x').receive('c', 2, fact)
    }],
    ['nothing twice', 'a value after the chain came back', s => {
      s.connect('c', ['a'])
      const value = s.publish('a', 'p-1', { key: 'k' })
      s.receive('c', 1, value).add(CUT).connect('c', ['a'], 'x').receive('c', 2, value)
    }],
    ['nothing twice', 'a repeat that was answered with another id', s => {
      const { id, ...fact } = s.publish('a', 'p-1')
      s.add({ f: 'publish', type: 'invoke', op: 50, producer: 'p', ...fact }, { f: 'publish', type: 'ok', op: 50, id: '1001-0' })
    }],
    ['nothing twice', 'an unknown outcome that came true twice', s => {
      s.connect('c', ['a']).add({ f: 'fault', type: 'start', fault: 'cut', evidence: 1 })
      s.add({ f: 'publish', type: 'invoke', op: 1, producer: 'p', room: 'a', event: 'fact', value: 'p-1' }, { f: 'publish', type: 'info', op: 1, why: 'cut' })
      s.receive('c', 1, { id: '1-0', room: 'a', event: 'fact', value: 'p-1' }).receive('c', 2, { id: '2-0', room: 'a', event: 'fact', value: 'p-1' })
    }],
    ['order', 'facts of two bundles', s => {
      s.connect('c', ['a', 'b'])
      const [one, two] = [s.publish('a', 'p-1'), s.publish('b', 'p-2')]
      s.receive('c', 1, two).receive('c', 2, one)
    }],
    ['order', 'fact and value of one bundle', s => {
      s.connect('c', ['a'])
      const [one, two] = [s.publish('a', 'p-1'), s.publish('a', 'p-2', { key: 'k' })]
      s.receive('c', 1, two, one)
    }],
    ['order', 'ids against the order of acknowledgements', s => s.add(
      { f: 'publish', type: 'invoke', op: 1, producer: 'p', room: 'a', event: 'fact', value: 'p-1' }, { f: 'publish', type: 'ok', op: 1, id: '2-0' },
      { f: 'publish', type: 'invoke', op: 2, producer: 'p', room: 'a', event: 'fact', value: 'p-2' }, { f: 'publish', type: 'ok', op: 2, id: '1-0' }
    )],
    ['values', 'an older value after a newer one', s => {
      s.connect('c', ['a'])
      const [old, young] = [s.publish('a', 'p-1', { key: 'k' }), s.publish('a', 'p-2', { key: 'k' })]
      s.receive('c', 1, young).receive('c', 2, old)
    }],
    ['values', 'the last value of a key is missing at the end', s => {
      s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1', { key: 'k' })).publish('a', 'p-2', { key: 'k' })
      s.receive('c', 2, s.final('a'))
    }],
    ['values', 'a snapshot without one of its keys', s => {
      s.publish('a', 'p-1', { key: 'k' })
      s.connect('c', ['a']).receive('c', 1, s.final('a'))
    }],
    ['values', 'a deletion that never came', s => {
      s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1', { key: 'k' })).publish('a', null, { key: 'k' })
      s.receive('c', 2, s.final('a'))
    }],
    ['values', 'a value that came back from the dead', s => {
      s.connect('c', ['a'])
      const [value, deletion] = [s.publish('a', 'p-1', { key: 'k' }), s.publish('a', null, { key: 'k' })]
      s.receive('c', 1, deletion).receive('c', 2, value)
    }],
    ['values', 'after a reset the snapshot leaves one out', s => {
      s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1', { key: 'k' }), s.publish('a', 'p-2')).publish('a', 'p-3')
      s.add({ f: 'reset', chain: 'c', reason: 'trimmed', rooms: ['a'], missed: 1 }).receive('c', 2, s.final('a'))
    }, { history: { size: 1, ttlMs: 1e6 } }],
    ['values', 'two of one key in a bundle', s => {
      s.connect('c', ['a'])
      const [old, young] = [s.publish('a', 'p-1', { key: 'k' }), s.publish('a', 'p-2', { key: 'k' })]
      s.receive('c', 1, old, young)
    }],
    ['isolation', 'a room that it never joined', s => s.connect('c', ['a']).receive('c', 1, s.publish('b', 'p-1'))],
    ['isolation', 'a type that it does not hear', s => s.connect('c', [{ room: 'a', types: ['alarm'] }]).receive('c', 1, s.publish('a', 'p-1'))],
    ['isolation', 'a room that it has left', s => {
      s.connect('c', ['a', 'b']).add({ f: 'leave', type: 'invoke', chain: 'c', room: 'b' }, { f: 'leave', type: 'ok', chain: 'c', room: 'b' })
      s.receive('c', 1, s.publish('b', 'p-1'))
    }],
    ['isolation', 'a fact from before it joined', s => {
      const old = s.publish('a', 'p-1')
      s.connect('c', ['a']).receive('c', 1, old)
    }],
    ['isolation', 'beyond the rights of its token', s => s.add({ f: 'connect', type: 'invoke', chain: 'c', profile: 'SSE', rooms: ['a'], grants: ['b*', '@public'] }, { f: 'connect', type: 'ok', chain: 'c', session: 's', position: 'new' }).receive('c', 1, s.publish('a', 'p-1'))],
    ['liveness', 'the end of a room did not come', s => s.connect('c', ['a']).final('a')],
    ['liveness', 'it did not come back', s => s.connect('c', ['a']).add(CUT, { f: 'connect', type: 'invoke', chain: 'c', profile: 'SSE', rooms: ['a'], cursor: 'x' }).final('a')],
    ['liveness', 'it came back late', s => {
      s.connect('c', ['a']).add({ ...CUT, t: 100 } as Step, { f: 'connect', type: 'invoke', chain: 'c', profile: 'SSE', rooms: ['a'], cursor: 'x', t: 101 }, { f: 'connect', type: 'ok', chain: 'c', session: 's', position: 'resumed', t: 20_000 })
    }, { limits: { backMs: 10_000 } }],
    ['liveness', 'publishing did not go on', s => s.add({ f: 'fault', type: 'start', fault: 'kill', evidence: 1 }, { f: 'fault', type: 'stop', fault: 'kill' }), { limits: { publishAgainMs: 3000 } }],
    ['bounds', 'too much memory', s => s.add({ f: 'sample', process: 'gateway', rssBytes: 101 }), { limits: { rssBytes: 100 } }],
    ['bounds', 'sessions that are left', s => s.add({ f: 'metrics', at: 'start', values: { signalbox_sessions: 0 } }, { f: 'metrics', at: 'end', values: { signalbox_sessions: 2 } })],
    ['bounds', 'it counts less than clients saw', s => {
      s.add({ f: 'metrics', at: 'start', values: { signalbox_delivered_events_total: 5 } }).connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1'))
      s.add({ f: 'metrics', at: 'end', values: { signalbox_delivered_events_total: 5 } })
    }],
    ['clear errors', 'a code that is not documented', s => s.add({ f: 'publish', type: 'invoke', op: 1, producer: 'p', room: 'a', event: 'fact', value: 'p-1' }, { f: 'publish', type: 'fail', op: 1, code: 'BANANA' })],
    ['clear errors', 'a defect', s => s.add({ f: 'connect', type: 'invoke', chain: 'c', profile: 'SSE', rooms: ['a'] }, { f: 'connect', type: 'fail', chain: 'c', code: 'INTERNAL' })],
    ['clear errors', 'a close code that is not documented', s => s.connect('c', ['a']).add({ f: 'close', chain: 'c', by: 'server', code: 1011 })],
    ['clear errors', 'an unknown outcome without a fault', s => s.add({ f: 'publish', type: 'invoke', op: 1, producer: 'p', room: 'a', event: 'fact', value: 'p-1' }, { f: 'publish', type: 'info', op: 1, why: 'ECONNRESET' })]
  ]
  for (const [rule, what, make, run = {}] of cases) {
    const s = script(run)
    make(s)
    t.strictSame(namesOf(s.lines).filter(name => name !== 'substance'), [rule], `${rule}: ${what}`)
    t.equal(judge(s.recorded()).verdict, 'fail', `${what}: fail`)
  }
  const named = new Set(cases.map(([rule]) => rule))
  t.strictSame(RULES.map(({ name }) => name).filter(name => !named.has(name)), ['substance'], 'every rule has its bad records')
})

t.test('a record that says nothing is neither pass nor fail', async t => {
  const unknown = (what: string, run: Partial<Extract<Line, { f: 'run' }>>, make: (s: Script) => unknown): void => {
    const s = script(run)
    make(s)
    const { verdict, findings } = judge(s.recorded())
    t.strictSame([verdict, findings.map(({ rule }) => rule.name)], ['unknown', ['substance']], what)
  }
  const short = (s: Script): unknown => s.connect('c', ['a']).receive('c', 1, s.publish('a', 'p-1'), s.final('a'))
  unknown('few events', { expect: { received: 3, reconnects: 'none' } }, short)
  unknown('a fault that never began', { fault: 'kill' }, short)
  unknown('a fault of which nothing shows that it hit', { fault: 'kill' }, s => short(s.add({ f: 'fault', type: 'start', fault: 'kill' }, { f: 'fault', type: 'stop', fault: 'kill', evidence: null })))
  unknown('chains that never had to come back', { fault: 'kill', expect: { received: 0 } }, s => { short(s); s.add({ f: 'fault', type: 'start', fault: 'kill', evidence: 'gone' }) })
  unknown('a room without an end', {}, s => s.publish('a', 'p-1'))
  t.equal(judge(record([])).verdict, 'unknown', 'nothing at all')
  t.strictSame(EXIT_CODES, { pass: 0, fail: 1, unknown: 3 })
})

const SEEDS = 60

t.test('random good records break no rule', async t => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { findings } = judge(record(goodHistory(seed)))
    if (findings.length > 0) t.fail(`seed ${seed}: ${findings.flatMap(({ violations }) => violations).map(({ what }) => what).join('; ')}`)
  }
  t.pass(`${SEEDS} records`)
})

type Mutation = (lines: Line[], at: number, random: Random) => Line[] | null

/** Changes of one received fact that was acknowledged. */
const MUTATIONS: Record<string, Mutation> = {
  drop: (lines, at) => lines.toSpliced(at, 1),
  repeat: (lines, at) => lines.toSpliced(at + 1, 0, lines[at] as Line),
  swap: (lines, at) => {
    const line = lines[at] as Received
    const next = lines.findIndex((other, index) => index > at && other.f === 'recv' && other.chain === line.chain && other.key === undefined && other.id !== line.id)
    return next === -1 ? null : lines.with(at, { ...lines[next] as Received, bundle: line.bundle }).with(next, { ...line, bundle: (lines[next] as Received).bundle })
  },
  forge: (lines, at) => lines.with(at, { ...lines[at] as Received, value: 'forged-1' }),
  'cross-room': (lines, at) => lines.with(at, { ...lines[at] as Received, room: 'elsewhere' }),
  'uncaused reset': (lines, at) => lines.toSpliced(at, 0, { t: (lines[at] as Line).t, f: 'reset', chain: (lines[at] as { chain: string }).chain, reason: 'unknown', missed: null }),
  unpublish: (lines, at) => {
    const { value } = lines[at] as Received
    const invoke = lines.find(line => line.f === 'publish' && line.type === 'invoke' && line.value === value) as { op: number } | undefined
    return invoke === undefined ? null : lines.map(line => line.f === 'publish' && line.type === 'ok' && line.op === invoke.op ? { t: line.t, f: 'publish', type: 'fail', op: line.op, code: 'ROOM_PAUSED' } : line)
  }
}

t.test('whatever is changed in a good record, it is named', async t => {
  for (const [name, mutate] of Object.entries(MUTATIONS)) {
    let tried = 0
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const lines = goodHistory(seed)
      const random = new Random(seed * 7919)
      const acknowledged = new Set(lines.flatMap(line => (line.f === 'publish' && line.type === 'ok') || line.f === 'final' ? [line.id] : []))
      const facts = lines.flatMap((line, index) => line.f === 'recv' && line.key === undefined && acknowledged.has(line.id) ? [index] : [])
      if (facts.length === 0) continue
      const at = random.pick(facts)
      const mutated = mutate(lines, at, random)
      if (mutated === null) continue
      tried += 1
      if (judge(record(mutated)).verdict !== 'fail') t.fail(`${name}, seed ${seed}: ${JSON.stringify(lines[at])} was changed, and no rule named it`)
    }
    t.ok(tried > SEEDS / 2, `${name}: ${tried} records`)
  }
})

t.test('files of several processes are read in the order of their time; a line cut short at the end is left out', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'signalbox-history-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const paths = ['one.jsonl', 'two.jsonl'].map(name => join(folder, name))
  const [one, two] = paths.map(path => new HistoryWriter(path)) as [HistoryWriter, HistoryWriter]
  const s = script().connect('c', ['a'])
  const facts = Array.from({ length: 2000 }, (_, index) => s.publish('a', `p-${index}`))
  for (const line of s.receive('c', 1, ...facts.filter((_, index) => index !== 1000), s.final('a')).lines) (line.f === 'recv' || line.f === 'connect' ? one : two).write(line)
  one.close()
  two.close()
  writeFileSync(paths[0] as string, `${readFileSync(paths[0] as string, 'utf8')}{"t":1e9,"f":"re`)
  t.strictSame([...readHistory(...paths)].map(({ line }) => line), s.lines)
  const text = describe(judge(readHistory(...paths)), paths)
  t.match(text, /^FAIL {2}chains 1 · attempted 2001 · ok 2001 .* received 2000 · lost 1 /)
  t.match(text, /3\. nothing lost: 1 violations/)
  t.match(text, /c got fact p-1001 \(1000-1001\) of a, and before it not fact p-1000 \(1000-1000\) of a/)
  t.match(text, /two\.jsonl:2002 .*"value":"p-1000"/, 'the publish that was lost')
  t.match(text, /one\.jsonl:1003 .*"value":"p-1001"/, 'where it shows')
})

t.test('the close codes that are taken for clear are those of docs/protocol.md', async t => {
  const [, listed = ''] = /^Close codes: ([\s\S]*?)\n\n/m.exec(readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8')) ?? []
  const codes = [...listed.matchAll(/\b[1-4]\d{3}\b/g)].map(([code]) => Number(code))
  t.strictSame([...CLOSE_CODES].filter(code => code !== 1000).sort(), [...new Set(codes)].sort())
})
