/** The names of our keys: the prefix, literally, and a word. With a hash tag in the prefix they share one slot of a cluster. */
export interface Keys {
  /** What is counted of the others, and where the log stands. */
  readonly meta: string
  /** Epochs and their seams, oldest first. */
  readonly epochs: string
  /** Everything, for following. */
  readonly log: string
  /** What history holds. */
  readonly facts: string
  /** The present values. */
  readonly state: string
  /** Keys by room. */
  readonly rooms: string
  /** Idempotency keys, commands' records, and counters of requests, each under a name of its own. */
  readonly once: (name: string) => string
  readonly command: (id: string) => string
  readonly rate: (limit: string, caller: string) => string
  /** Who is alive until when, and members by worker and room. */
  readonly workers: string
  readonly members: string
  /** Who takes in what comes through Redis; the stream that publishers write to; and what of it was refused. */
  readonly intake: string
  readonly ingest: string
  readonly refused: string
  /** Commands that backends serve, the stream of each, and their answers. */
  readonly handlers: string
  readonly commands: (name: string) => string
  readonly results: string
}

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
  intake: `${prefix}intake`,
  ingest: `${prefix}ingest`,
  refused: `${prefix}ingest:refused`,
  handlers: `${prefix}handlers`,
  commands: name => `${prefix}commands:${name}`,
  results: `${prefix}results`
})
