/** The names of our keys: the prefix, unchanged, and a word. A hash tag in the prefix keeps them in one slot of a cluster. */
export interface Keys {
  /** How much the other keys hold, and where the log ends. */
  readonly meta: string
  /** Epochs and their seams, oldest first. */
  readonly epochs: string
  /** All entries, for following. */
  readonly log: string
  /** The facts and deletions in history. */
  readonly facts: string
  /** The current values. */
  readonly state: string
  /** The number of keys in each room. */
  readonly rooms: string
  /** Idempotency keys, commands' records, and counters of requests: one Redis key each. */
  readonly once: (name: string) => string
  readonly command: (id: string) => string
  readonly rate: (limit: string, caller: string) => string
  /** The workers and when their leases expire; members by worker and room; rooms that lost their last member in a worker a moment ago. */
  readonly workers: string
  readonly members: string
  readonly left: string
  /** The stream that tells backends which rooms become occupied, and vacated. */
  readonly occupancy: string
  /** The lease of the intake; the stream that publishers write to; the refused events of both ways in. */
  readonly intake: string
  readonly ingest: string
  readonly refused: string
  /** Declarations of backends' commands, the stream of each command, and the answers. */
  readonly handlers: string
  readonly commands: (name: string) => string
  readonly results: string
  /** What the gateway signs tickets with. */
  readonly secret: string
}

/** The consumer group in which the workers read `ingest`. */
export const INTAKE_GROUP = 'gateway'

export const keysOf = (prefix: string): Keys => ({
  meta: `${prefix}meta`,
  epochs: `${prefix}epochs`,
  log: `${prefix}log`,
  facts: `${prefix}facts`,
  state: `${prefix}state`,
  rooms: `${prefix}rooms`,
  once: name => `${prefix}once:${name}`,
  command: id => `${prefix}command:${id}`,
  rate: (limit, caller) => `${prefix}rate:${limit}:${caller}`,
  workers: `${prefix}workers`,
  members: `${prefix}members`,
  left: `${prefix}left`,
  occupancy: `${prefix}occupancy`,
  intake: `${prefix}intake`,
  ingest: `${prefix}ingest`,
  refused: `${prefix}ingest:refused`,
  handlers: `${prefix}handlers`,
  commands: name => `${prefix}commands:${name}`,
  results: `${prefix}results`,
  secret: `${prefix}secret`
})
