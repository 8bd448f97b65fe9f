// Where a session stands, without a session: tracks, the rooms and cursors go in, tracks come out.

import t from 'tap'
import { draftOf, entryOf } from '../../src/core/event.ts'
import type { Entry } from '../../src/core/event.ts'
import { ALL, only } from '../../src/core/filter.ts'
import { ORIGIN } from '../../src/core/id.ts'
import { Rooms, SYSTEM_DELETIONS } from '../../src/core/rooms.ts'
import type { Listener } from '../../src/core/rooms.ts'
import { advance, begin, checkDeletions, checkFloor, countKeys, countPassed, cursorOf, isBeyond, isInStep, judge, merge, narrow, newcomer, oldestPendingId, relocate, sourcesOf, takeResets } from '../../src/core/standing.ts'
import type { Track } from '../../src/core/standing.ts'
import { parseJoins, Subscription } from '../../src/core/subscription.ts'
import type { Parts } from '../../src/core/subscription.ts'

const FIRST = { epoch: 'first', epochs: [{ epoch: 'first', seam: ORIGIN }] }
/** What the first epoch gave out beyond 5-0 was lost. */
const SECOND = { epoch: 'second', epochs: [...FIRST.epochs, { epoch: 'second', seam: '5-0' }] }

const subscribe = (...rooms: string[]): Subscription => Subscription.none.with(parseJoins(rooms.map(room => ({ room }))))
const partsOf = (...rooms: string[]): Parts => subscribe(...rooms).parts

interface Given { room?: string, type?: string, key?: string, remove?: boolean }

const entry = (n: number, { room = 'a', type = 'x', key, remove = false }: Given = {}): Entry =>
  entryOf(draftOf({ type, room, key, data: remove ? null : n, timestamp: 0 }), `${n}-0`)

/** Rooms that hold the facts 1-0 to 9-0 of room a, and of what is given instead of some of them. */
function roomsWith (others: Record<number, Given> = {}): Rooms<Listener> {
  const rooms = new Rooms<Listener>()
  rooms.load({ lineage: FIRST, head: ORIGIN, floor: ORIGIN, systemFloor: ORIGIN, history: [], values: [] })
  for (let n = 1; n <= 9; n++) rooms.apply(entry(n, others[n]))
  return rooms
}

const at = (facts: number, state = facts, parts = partsOf('a')): Track => ({ parts, facts: `${facts}-0`, state: `${state}-0`, snapshot: false, asOf: ORIGIN, reset: null })

t.test('a newcomer has every fact from the head on, and no value yet', async t => {
  t.same(begin(partsOf('a'), null, '', roomsWith()), [{ parts: partsOf('a'), facts: '9-0', state: ORIGIN, snapshot: true, asOf: ORIGIN, reset: null }])
})

t.test('a cursor leads back to the tracks it was made from', async t => {
  const rooms = roomsWith()
  const { parts, signature } = subscribe('a', 'b')
  for (const tracks of [
    [at(7, 7, parts)],
    [at(7, 3, parts)],
    [{ ...at(7, 0, parts), snapshot: true, asOf: '9-0' }],
    [at(7, 7, partsOf('a')), { ...at(9, 0, partsOf('b')), snapshot: true, asOf: '9-0' }]
  ]) t.same(begin(parts, cursorOf(tracks, signature, rooms), signature, rooms), tracks)
})

t.test('a later join that heard some types only comes back for those, the rest of its room with the first track', async t => {
  const rooms = roomsWith()
  const { parts, signature } = subscribe('a')
  const later = { ...at(9, 0, new Map([['a', only(['x'])]])), snapshot: true }
  const tracks = begin(parts, cursorOf([at(7), later], signature, rooms), signature, rooms)
  t.same(tracks.map(({ facts, parts }) => [facts, parts.get('a')]), [
    ['7-0', { types: new Set(['x']), inverted: true }],
    ['9-0', { types: new Set(['x']), inverted: false }]
  ])
})

t.test('a cursor of another subscription missed nothing and has a reset pending', async t => {
  const rooms = roomsWith()
  const cursor = cursorOf([at(7)], subscribe('a').signature, rooms)
  const { parts, signature } = subscribe('a', 'b')
  t.match(begin(parts, cursor, signature, rooms), [{ facts: '7-0', state: ORIGIN, snapshot: true, reset: { reason: 'subscription', missed: 0 } }])
})

t.test('a text that is no cursor, and a cursor of an unknown epoch or of a position ahead of the log, begin again at the head', async t => {
  const rooms = roomsWith()
  const { parts, signature } = subscribe('a')
  for (const [cursor, reason] of [
    ['nonsense', 'unknown'],
    [cursorOf([at(7)], signature, rooms).replace('first', 'other'), 'unknown'],
    [cursorOf([at(10)], signature, rooms), 'ahead']
  ] as const) t.same(begin(parts, cursor, signature, rooms), [{ ...newcomer(parts, '9-0'), reset: { reason, missed: null } }], cursor)
})

t.test('the id of a fact is a position among the facts; no other id is', async t => {
  const rooms = roomsWith({ 4: { key: 'k' }, 6: { key: 'k', remove: true } })
  const join = (id: string): Track | undefined => begin(partsOf('a'), id, '', rooms)[0]
  t.match(join('3-0'), { facts: '3-0', state: ORIGIN, snapshot: true, reset: null })
  t.match(join('4-0'), { facts: '9-0', reset: { reason: 'unknown' } }, 'a value')
  t.match(join('6-0'), { facts: '9-0', reset: { reason: 'unknown' } }, 'a deletion')
  t.match(join('10-0'), { facts: '9-0', reset: { reason: 'unknown' } }, 'an id not given yet')
  rooms.trim('5-0')
  t.match(join('3-0'), { facts: '5-0', reset: { reason: 'trimmed' } })
})

t.test('an epoch is known while the position lies before every seam since', async t => {
  for (const [epoch, facts, state, verdict] of [
    ['second', 9, 9, 'known'], ['second', 10, 9, 'ahead'], ['first', 5, 5, 'known'], ['first', 6, 5, 'ahead'], ['first', 5, 6, 'ahead'], ['third', 1, 1, 'unknown']
  ] as const) t.equal(judge(epoch, [at(facts, state)], SECOND, '9-0'), verdict, `${epoch} ${facts} ${state}`)
})

t.test('a cursor may be beyond what this process has read where its id or epoch is not known here', async t => {
  const rooms = roomsWith()
  const cursor = (n: number): string => cursorOf([at(n)], 'signature', rooms)
  t.same(['9-0', '10-0', cursor(9), cursor(10), cursor(9).replace('first', 'other'), 'nonsense'].map(text => isBeyond(text, rooms)), [false, true, false, true, true, false])
})

t.test('when the log lost entries, tracks go on where it still holds what was sent, and begin again where it does not', async t => {
  const rooms = roomsWith()
  rooms.lineage = SECOND
  const [kept, lost] = [[at(5)], [at(5), at(6, 2, partsOf('b'))]]
  relocate(kept, 'first', rooms)
  t.same(kept, [at(5)])
  relocate(lost, 'first', rooms)
  const anew = { facts: '9-0', state: ORIGIN, snapshot: true, reset: { reason: 'ahead', missed: null } }
  t.match(lost, [anew, anew], 'all of them: their cursor is one')
})

t.test('a track below the floor of one of its rooms begins again there, and what was missed is counted where it is known', async t => {
  const rooms = roomsWith({ 2: { room: 'b' } })
  const [counted, unknown] = [[at(3)], [at(3)]]
  const passed = countPassed(counted, rooms)
  t.equal(passed, 2, '1-0 and 3-0')
  rooms.trim('7-0')
  checkFloor(counted, rooms, passed)
  t.match(counted, [{ facts: '7-0', state: ORIGIN, snapshot: true, reset: { reason: 'trimmed', missed: 4 } }], '4-0 to 7-0')
  checkFloor(unknown, rooms, null)
  t.match(unknown, [{ facts: '7-0', reset: { reason: 'trimmed', missed: null } }])
})

t.test('one track below its floor resets the others too, which keep their facts; other rooms\' trimming resets nobody', async t => {
  const rooms = roomsWith({ 8: { room: 'b' } })
  rooms.trim('7-0')
  const tracks = [at(3), at(8, 8, partsOf('b'))]
  checkFloor(tracks, rooms, null)
  t.same(tracks.map(({ facts, reset }) => [facts, reset?.reason]), [['7-0', 'trimmed'], ['8-0', 'trimmed']])
  const quiet = [at(3, 3, partsOf('b'))]
  checkFloor(quiet, rooms, null)
  t.same(quiet, [at(3, 3, partsOf('b'))])
})

t.test('a track in @system begins again where deletions there are forgotten, and others never do for that', async t => {
  const rooms = roomsWith({ 2: { room: '@system', key: 'gone' }, 3: { room: '@system', key: 'k' } })
  for (let n = 10; n < 10 + SYSTEM_DELETIONS; n++) rooms.apply(entry(n, { room: '@system', key: 'gone', remove: true }))
  const begins = (track: Track): Track => { checkFloor([track], rooms, null); return track }
  t.equal(begins(at(9, 9, partsOf('@system'))).reset, null, 'all are there')
  rooms.apply(entry(20_000, { room: '@system', key: 'gone', remove: true }))
  t.match(begins(at(9, 9, partsOf('@system', 'a'))), { facts: '9-0', state: ORIGIN, snapshot: true, reset: { reason: 'trimmed' } }, 'it keeps its facts of other rooms')
  for (const fine of [at(10, 10, partsOf('@system')), at(9, 10, partsOf('@system')), at(1, 1, partsOf('a'))]) t.equal(begins(fine).reset, null)
  t.equal(rooms.history.size, 7, 'history has none of it')
})

t.test('deletions of @system in an image that an earlier version wrote are gone, for those who waited with them too', async t => {
  const rooms = new Rooms<Listener>()
  rooms.load({ lineage: FIRST, head: '9-0', floor: ORIGIN, systemFloor: '2-0', history: [entry(5, { room: '@system', key: 'gone', remove: true })], values: [] })
  const [lost, fine] = ['4-0', '5-0'].map(deletions => ({ ...at(9, 3, partsOf('@system')), deletions })) as [Track, Track]
  checkDeletions([lost, fine], rooms)
  t.equal(lost.reset?.reason, 'trimmed')
  t.equal(fine.reset, null)
})

t.test('a snapshot of @system that is under way has what was deleted before it, however far behind the facts are', async t => {
  const rooms = roomsWith()
  for (let n = 10; n <= 10 + SYSTEM_DELETIONS; n++) rooms.apply(entry(n, { room: '@system', key: 'gone', remove: true }))
  const track = newcomer(partsOf('@system', 'a'), '1-0')
  checkFloor([track], rooms, null)
  track.state = '3-0'
  checkFloor([track], rooms, null)
  t.match(track, { facts: '1-0', state: '3-0', reset: null })
  for (let n = 20_000; n <= 20_000 + SYSTEM_DELETIONS; n++) rooms.apply(entry(n, { room: '@system', key: 'gone', remove: true }))
  checkFloor([track], rooms, null)
  t.match(track, { facts: '1-0', state: ORIGIN, reset: { reason: 'trimmed', missed: 0 } }, 'and not what was forgotten since')
})

t.test('facts that passed are counted for one track that hears whole rooms, and for no other', async t => {
  const rooms = roomsWith({ 4: { room: 'b' }, 5: { key: 'k' } })
  t.equal(countPassed([at(6, 6, partsOf('a', 'b'))], rooms), 5)
  t.equal(countPassed([at(6, 6, new Map([['a', only(['x'])]]))], rooms), null)
  t.equal(countPassed([at(6), at(6, 6, partsOf('b'))], rooms), null)
  t.equal(countPassed([], rooms), null)
  rooms.trim('3-0')
  t.equal(countPassed([at(6)], rooms), 4, 'the trimmed ones among them')
})

t.test('pending resets are taken once and all together, with the rooms of each', async t => {
  const tracks = [at(1), { ...at(2, 2, partsOf('b', 'c')), reset: { reason: 'trimmed' as const, missed: 4 } }, { ...at(3, 3, partsOf('d')), reset: { reason: 'trimmed' as const, missed: 4 } }]
  t.same(takeResets(tracks), { reason: 'trimmed', missed: 4, rooms: ['b', 'c', 'd'] })
  t.equal(takeResets(tracks), null)
})

t.test('ready counts the present values that are heard', async t => {
  const rooms = roomsWith({ 1: { key: 'k' }, 2: { key: 'l' }, 3: { key: 'k', type: 'y' }, 4: { key: 'l', remove: true }, 5: { room: 'b', key: 'k' } })
  t.equal(countKeys(partsOf('a', 'b'), rooms), 3)
  t.equal(countKeys(new Map([['a', only(['y'])]]), rooms), 1)
})

t.test('the oldest pending event is a fact or a value that is heard', async t => {
  const rooms = roomsWith({ 2: { key: 'k' }, 8: { type: 'y' } })
  t.equal(oldestPendingId([at(9)], rooms), null)
  t.equal(oldestPendingId([at(3)], rooms), '4-0')
  t.equal(oldestPendingId([at(3, 1)], rooms), '2-0')
  t.equal(oldestPendingId([at(0, 0, new Map([['a', only(['y'])]]))], rooms), '8-0')
})

t.test('reading asks each room from where its track stands', async t => {
  const rooms = roomsWith()
  t.same(sourcesOf([at(7, 3), at(9, 0, partsOf('b'))], rooms).map(({ facts, state, filter }) => [facts, state, filter]), [['7-0', '3-0', ALL], ['9-0', '0-0', ALL]])
})

t.test('tracks advance as far as a reading went and never back, and are in step at the head', async t => {
  const tracks = [at(3), at(6)]
  advance(tracks, '5-0', null, '9-0')
  t.same(tracks.map(({ facts, state }) => [facts, state]), [['5-0', '9-0'], ['6-0', '9-0']])
  t.notOk(isInStep(tracks, '9-0'))
  advance(tracks, null, ORIGIN, '9-0')
  t.ok(isInStep(tracks, '9-0'))
  t.notOk(isInStep(tracks, '10-0'))
})

t.test('tracks become one where positions and pending messages are the same', async t => {
  const merged = merge([at(5), at(5, 5, partsOf('b')), at(5, 4, partsOf('c')), { ...at(5, 5, partsOf('d')), snapshot: true }])
  t.same(merged.map(({ parts }) => [...parts.keys()]), [['a', 'b'], ['c'], ['d']])
  const [whole] = merge([at(5, 5, new Map([['a', only(['x'])]])), at(5, 5, new Map([['a', only(['y'])]]))])
  t.same(whole?.parts.get('a'), only(['x', 'y']))
})

t.test('tracks keep what is still heard, and end where nothing is', async t => {
  const tracks = narrow([at(5, 5, partsOf('a', 'b')), at(6, 6, partsOf('c'))], new Map([['a', only(['x'])]]))
  t.same(tracks, [at(5, 5, new Map([['a', only(['x'])]]))])
})
