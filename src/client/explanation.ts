// What the command `explain` answers, in words: for the command line and the page. The client itself does not load this.

type Wait = 'tick' | 'backlog' | 'slow' | 'pace' | 'hidden' | 'away'

interface Fate {
  readonly fate: 'delivered' | 'folded' | 'not heard' | 'pending' | 'reset' | 'gone'
  readonly reason?: string | null
  readonly into?: string
  readonly certain?: false
  readonly resumed?: true
  readonly behindMs?: number
  readonly goneMs?: number
  readonly was?: Fate
}

export interface Explanation {
  readonly event: { readonly id: string, readonly room: string | null, readonly type: string, readonly key: string | null, readonly acceptedAt: number } | null
  readonly reason?: 'trimmed' | 'unknown'
  readonly ids?: readonly string[]
  readonly counts: Readonly<Partial<Record<Fate['fate'], number>>>
  readonly sessions: ReadonlyArray<Fate & { readonly session: string }>
  readonly processes: number
}

const WAITS: Readonly<Record<Wait, string>> = {
  tick: 'it goes out with the next bundle',
  backlog: 'earlier events go out first',
  slow: 'the connection does not take what was sent before',
  pace: 'its values wait for its pace (paceMs)',
  hidden: 'it takes no values for now (paceMs: null, as hidden pages ask)',
  away: 'it goes out when the client comes back'
}

const NOT_HEARD: Readonly<Record<string, string>> = {
  room: 'it has not joined the room',
  types: 'it hears other types of the room',
  grant: 'its token does not grant the room',
  before: 'the event came before it joined'
}

/** The whole answer, in lines. Empty where there is no event to tell of. */
export function explanationLines (explanation: Explanation, session?: string): string[] {
  const { event, ids = [], sessions } = explanation
  if (event === null) return []
  const { id, room, type, key, acceptedAt } = event
  return [
    `${id}  ${room ?? '@public'}  ${type}${key === null ? '' : `  ${JSON.stringify(key)}`}  accepted ${new Date(acceptedAt).toISOString()}`,
    ...ids.length > 1 ? [`the first of ${ids.length} events with this key; the others: ${ids.slice(1).join(' ')}`] : [],
    countsText(explanation, session),
    ...sessions.map(fate => `${fate.session}  ${fateText(fate)}`)
  ]
}

/** Why there is no event to tell of. @param asked the id, or the key */
export function missingText ({ reason, ids }: Explanation, asked: string): string {
  if (ids !== undefined && ids.length === 0) return `no event is known that you published with the Idempotency-Key ${asked}: keys are kept for IDEMPOTENCY_TTL, and belong to who used them`
  const id = ids?.[0] ?? asked
  return reason === 'trimmed'
    ? `event ${id} is older than what history holds (HISTORY_SIZE, HISTORY_TTL, HISTORY_BYTES)`
    : `event ${id} is not known: there never was one with this id, or it was a value that has been replaced too long ago`
}

/** How many sessions of each fate, and how many of them are listed. @param session the only one that was asked for */
function countsText ({ counts, sessions, processes }: Explanation, session?: string): string {
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0)
  if (all === 0) return session === undefined ? 'There is no session, nor was there one in the last 5 minutes that heard its room.' : 'No session with this id is known: there is none, nor was there one in the last 5 minutes.'
  const fates = Object.entries(counts).map(([fate, count]) => `${count} ${fate}`).join(', ')
  return `${fates}${sessions.length < all ? `; ${sessions.length} of ${all} sessions are listed` : ''}${processes > 1 ? ` (${processes} processes have answered)` : ''}`
}

/** What became of the event at one session. */
function fateText ({ fate, reason, into, certain, resumed, behindMs = 0, goneMs = 0, was }: Fate): string {
  const unless = certain === false ? '; it may have been delivered before' : ''
  switch (fate) {
    case 'delivered': return 'delivered'
    case 'folded': return `folded into ${into}: a newer value of its key takes its place${reason == null ? '' : ` (${WAITS[reason as Wait]})`}${unless}`
    case 'not heard': return `not heard: ${resumed === true ? 'the client came back from behind it, and got it, or a reset, on an earlier connection' : NOT_HEARD[reason ?? '']}${unless}`
    case 'pending': return `pending${behindMs > 0 ? ` for ${seconds(behindMs)}` : ''}: ${WAITS[reason as Wait]}${unless}`
    case 'reset': return `reset (${reason}): the client was told that it may have missed it, and began again with the present values`
    case 'gone': return `gone for ${seconds(goneMs)} (${reason}); until then: ${was === undefined ? '' : fateText(was)}`
  }
}

const seconds = (ms: number): string => ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`
