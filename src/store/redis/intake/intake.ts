// What comes in through Redis itself: messages on the channel, and entries of the stream `ingest`. One worker takes them in at
// a time (see lease.ts), in terms. A term ends with the first doubt: another worker got the lease, an append was not
// answered, the channel cannot be heard. The next term, here or elsewhere, begins under a new token: by then everything
// the last holder sent is in the log or never will be. It reads everything the log holds, and continues with the rest.

import { Wakeup } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import type { Gateway } from '../../../core/gateway.ts'
import type { Logger } from '../../../core/logger.ts'
import { Channel } from './channel.ts'
import type { ChannelCounters } from './channel.ts'
import { reasonOf, replaceIfSilent } from '../connect.ts'
import { isLost } from '../health.ts'
import type { RedisClient } from '../connect.ts'
import { LeaseLost } from '../log/store.ts'
import type { RedisStore } from '../log/store.ts'
import { Ingest } from './ingest.ts'
import type { IngestCounters } from './ingest.ts'
import { Lease } from './lease.ts'
import { DeadLetters } from './dead-letters.ts'
import { MAX_CHARACTERS, MAX_TEXTS } from './unconfirmed.ts'

export interface IntakeOptions {
  readonly store: RedisStore
  /** This process's name in the deployment, in base64url. */
  readonly worker: string
  /** Where messages are published (REDIS_CHANNEL). */
  readonly channel: string
  readonly clock: Clock
  readonly log: Logger
}

/** Why a term has ended. */
type TermEnd = 'lost' | 'unsure' | 'deaf' | 'asked' | 'draining' | 'closed' | 'failed'

const WHYS: Record<TermEnd, string> = {
  lost: 'another worker holds the lease',
  unsure: 'Redis did not answer',
  deaf: 'it is not subscribed to the channel',
  asked: 'another worker has messages that this one did not get',
  draining: 'it is shutting down',
  closed: 'it is shutting down',
  failed: 'something went wrong'
}

/** Interval of renewing the lease, or of trying to take it. */
const BEAT_MS = 250
const TIMEOUT_MS = 1500
/** How long a worker without a subscription leaves the lease to others. */
const DEAF_MS = 5000
/** At this age a message that is not taken in did not reach the holder of the lease. */
const ORPHAN_MS = 5000
/** How long a worker that gave way does not try to take the lease. */
const WAY_MS = 1500
/** Dropped messages are reported together, and are a warning of /readyz for this long. */
const REPORT_MS = 1000
const WARN_MS = 300_000
const FIRST_PAUSE_MS = 50
const LAST_PAUSE_MS = 1000

export class Intake {
  /** Of this worker: events in the log, refused, dropped for lack of memory. */
  readonly counters: { readonly channel: ChannelCounters, readonly ingest: IngestCounters & { readonly waiting: number } }
  readonly #options: IntakeOptions
  readonly #client: RedisClient
  readonly #lease: Lease
  readonly #deadLetters: DeadLetters
  readonly #wakeup: Wakeup
  #channel: Channel | null = null
  #ingest: Ingest | null = null
  /** Ends the current term; null if there is none. */
  #end: ((why: TermEnd) => void) | null = null
  #closed = false
  #running: Promise<void> | null = null
  #closing: Promise<void> | null = null
  /** The worker that asked for the lease. */
  #asker = ''
  #giveWayUntil = -Infinity
  #askedAt = -Infinity
  /** Messages dropped since the last line about them; when that was; what /readyz says of them, and of a subscription that Redis ended. */
  #dropped = 0
  #droppedAt = -Infinity
  #dropWarning = ''
  #cutOffAt = -Infinity
  #cutOffWarning = ''
  #reported = ''
  /** The last term was this worker's, and ended with an append whose outcome is unknown. */
  #unsure = false

  constructor (options: IntakeOptions) {
    const { store, worker, clock, log } = options
    this.#options = options
    this.#wakeup = new Wakeup(clock)
    this.#client = store.connect('intake', TIMEOUT_MS, () => {})
    this.#lease = new Lease(this.#client, store.keys.intake, worker)
    this.#deadLetters = new DeadLetters({ client: this.#client, keys: store.keys, clock, log })
    const waiting = (): number => this.#ingest?.waiting ?? 0
    this.counters = {
      channel: { taken: 0, refused: 0, dropped: 0 },
      ingest: { taken: 0, refused: 0, get waiting () { return waiting() } }
    }
  }

  /** Begins to listen, and takes in while this worker holds the lease. For a gateway that has started. */
  start (gateway: Gateway): void {
    if (this.#closed || this.#running !== null) return
    const { store } = this.#options
    const shared = { ...this.#options, gateway, deadLetters: this.#deadLetters }
    const channel = new Channel({ ...shared, onChange: () => this.#changed(), onDrop: count => this.#drop(count), onCutOff: warning => this.#cutOff(warning) }, this.counters.channel)
    this.#channel = channel
    this.#ingest = new Ingest({ ...shared, client: this.#client }, this.counters.ingest)
    store.listen({
      onNote: ({ field, text }) => {
        if (field === 'refused') for (const source of text.split(' ')) channel.done(source)
        if (field === 'intake') this.#onIntakeNote(text)
      },
      onTakenIn: source => { if (source.startsWith('c')) channel.done(source) },
      onLoad: () => this.#forget(channel),
      onUsable: () => this.#wakeup.wake(),
      warnings: () => this.#warnings
    })
    this.#client.on('ready', () => this.#wakeup.wake())
    this.#client.connect().catch(() => {})
    channel.start()
    this.#running = this.#run(gateway, channel, this.#ingest)
  }

  /** Stops taking in and gives back the lease. Idempotent. */
  close (): Promise<void> {
    this.#closing ??= (async () => {
      this.#closed = true
      this.#end?.('closed')
      this.#wakeup.wake()
      await this.#running
      this.#channel?.close()
      this.#ingest?.close()
      this.#client.disconnect()
    })()
    return this.#closing
  }

  async #run (gateway: Gateway, channel: Channel, ingest: Ingest): Promise<void> {
    const { clock } = this.#options
    let pauseMs = FIRST_PAUSE_MS
    while (!this.#closed) {
      let waitMs = BEAT_MS
      if (this.#mayTake(channel)) {
        const freeInMs = await this.#lease.take().catch(error => this.#failed(error))
        if (freeInMs !== null && freeInMs > 0) {
          this.#unsure = false
          this.#askForTurn(channel)
          waitMs = freeInMs
        } else if (freeInMs === 0 && !this.#closed) {
          const begun = clock.now()
          const why = await this.#hold(gateway, channel, ingest)
          if (why === 'draining') void this.close()
          // Repeated failures are retried at growing intervals.
          pauseMs = clock.now() - begun > LAST_PAUSE_MS ? FIRST_PAUSE_MS : Math.min(2 * pauseMs, LAST_PAUSE_MS)
          if (why === 'asked') this.#giveWayUntil = clock.now() + WAY_MS
          this.#unsure = why === 'unsure'
          waitMs = pauseMs
        }
      }
      if (!this.#closed) await this.#wakeup.wait(waitMs)
    }
  }

  #mayTake ({ deafMs }: Channel): boolean {
    const { store, clock } = this.#options
    return store.trouble === null && (deafMs === 0 || deafMs > DEAF_MS) && clock.now() >= this.#giveWayUntil
  }

  /** One term. @returns why it has ended */
  async #hold (gateway: Gateway, channel: Channel, ingest: Ingest): Promise<TermEnd> {
    const { store, log } = this.#options
    const { token } = this.#lease
    let ended: TermEnd | null = null
    const end = (why: TermEnd): void => {
      ended ??= why
      channel.wakeup.wake()
      ingest.wakeup.wake()
    }
    this.#end = end
    const term = { token, get over () { return ended !== null } }
    const until = async (work: () => Promise<void>): Promise<void> => {
      try {
        await work()
      } catch (error) {
        const why = endFor(error)
        if (why === 'failed') log.error({ err: error }, 'taking in events through Redis failed and is started again')
        end(why)
      }
    }
    const stopBeat = this.#beat(gateway, end)
    log.info({ token }, 'this worker takes in events through Redis')
    await until(async () => await store.sync())
    if (!term.over) await Promise.all([until(async () => await channel.run(term)), until(async () => await ingest.run(term))])
    stopBeat()
    this.#end = null
    const why = ended as TermEnd | null ?? 'closed'
    log.info({ token, why }, `this worker stopped taking in events through Redis: ${WHYS[why]}`)
    // No other worker knows more about an append that was not answered; the next term should be here.
    if (why !== 'lost' && why !== 'unsure') await this.#release(why)
    return why
  }

  async #release (why: TermEnd): Promise<void> {
    const { store } = this.#options
    try {
      await this.#lease.release()
      await store.note('intake', `free ${why === 'asked' ? this.#asker : '*'}`)
    } catch {
      // The lease then expires.
    }
  }

  #beat (gateway: Gateway, end: (why: TermEnd) => void): () => void {
    const { store, clock } = this.#options
    let cancel = (): void => {}
    const next = (): void => {
      cancel = clock.after(BEAT_MS, () => {
        if (gateway.notReady?.code === 'DRAINING') return end('draining')
        if (store.trouble !== null) return end('unsure')
        // A lease that cannot be renewed expires, and then appends are refused.
        this.#lease.renew().then(held => { if (!held) end('lost') }, error => this.#failed(error))
        next()
      })
    }
    next()
    return () => cancel()
  }

  #failed (error: unknown): null {
    const { store, log } = this.#options
    replaceIfSilent(this.#client, error)
    const reason = reasonOf(error)
    if (!isLost(error) && store.trouble === null && reason !== this.#reported) {
      this.#reported = reason
      log.warn({ reason }, `nothing is taken in through Redis: the lease ${store.keys.intake} cannot be used: ${reason}`)
    }
    return null
  }

  /** The subscription began or ended. */
  #changed (): void {
    if (this.#channel?.deafMs !== 0) this.#end?.('deaf')
    this.#wakeup.wake()
  }

  /** The log was read as a whole. A holder of the lease knows what it has taken in; the other workers leave that to the holder. */
  #forget (channel: Channel): void {
    if (this.#end !== null) return
    const count = channel.forget()
    if (this.#unsure && count > 0) this.#drop(count)
  }

  /** Counts messages of the channel that are lost, and says so. */
  #drop (count: number): void {
    const { clock, channel, store, log } = this.#options
    this.counters.channel.dropped += count
    this.#dropped += count
    if (this.#dropped > count) return
    clock.after(REPORT_MS, () => {
      this.#dropWarning = `${this.#dropped} messages on channel ${channel} were dropped: of those not taken in yet ${MAX_TEXTS} are kept, and ${MAX_CHARACTERS / 1024 / 1024} Mi characters. Entries of ${store.keys.ingest} are never dropped`
      this.#droppedAt = clock.now()
      this.#dropped = 0
      log.warn({ channel }, this.#dropWarning)
    })
  }

  #cutOff (warning: string): void {
    this.#cutOffWarning = warning
    this.#cutOffAt = this.#options.clock.now()
  }

  get #warnings (): string[] {
    const now = this.#options.clock.now()
    return [...now - this.#droppedAt < WARN_MS ? [this.#dropWarning] : [], ...now - this.#cutOffAt < WARN_MS ? [this.#cutOffWarning] : []]
  }

  /** Another worker holds the lease. A message that it did not get can only be taken in by a worker that has it. */
  #askForTurn ({ waitingMs }: Channel): void {
    const { store, worker, clock } = this.#options
    if (waitingMs < ORPHAN_MS || clock.now() - this.#askedAt < ORPHAN_MS) return
    this.#askedAt = clock.now()
    store.note('intake', `turn ${worker}`).catch(() => {})
  }

  #onIntakeNote (text: string): void {
    const { worker } = this.#options
    const [what, who = ''] = text.split(' ')
    if (what === 'turn' && who !== worker) {
      this.#asker = who
      this.#end?.('asked')
    } else if (what === 'free' && (who === '*' || who === worker)) {
      this.#wakeup.wake()
    }
  }
}

function endFor (error: unknown): TermEnd {
  if (error instanceof LeaseLost) return 'lost'
  if (!(error instanceof Refusal)) return 'failed'
  return error.code === 'DRAINING' ? 'draining' : 'unsure'
}
