// `signalbox tail`: present values, then all that follows, by our own client: over restarts and rollbacks, until Ctrl-C.

import { connect } from '../client/node.ts'
import { Failure, INTERRUPTED } from './failure.ts'
import { failureOf, hurry } from './gateway.ts'
import type { Gateway } from './gateway.ts'
import { drained, harmless, lineOf, print, say, unread } from './terminal.ts'

export interface TailOptions {
  readonly rooms?: readonly string[]
  readonly types?: readonly string[]
  readonly json?: boolean
  readonly since?: string
}

/** What may wait for a slow reader. Beyond it the connection is given up, and resumed when the reader has caught up. */
const MAX_UNREAD_BYTES = 4_194_304

export async function tail (gateway: Gateway, { rooms = [], types = [], json = false, since = '' }: TailOptions): Promise<never> {
  await gateway.profile()
  const { signal } = gateway
  let cursor = since
  let isGreeted = false
  /** One connection, until the reader is too slow. */
  const follow = async (): Promise<void> => await new Promise((resolve, reject) => {
    const box = connect(gateway.base, { rooms, types, lastEventId: cursor, ...gateway.token !== '' && { token: gateway.token } })
    // Once it was connected it follows for as long as it takes.
    const calm = isGreeted ? () => {} : hurry(box, gateway.base, failure => end(failure))
    const end = (error?: Error): void => {
      calm()
      signal.removeEventListener('abort', interrupt)
      cursor = box.lastEventId
      box.close()
      if (error === undefined) resolve()
      else reject(error)
    }
    const interrupt = (): void => end(new Failure('', INTERRUPTED))
    signal.addEventListener('abort', interrupt)
    let told = ''
    box.on('event', event => {
      void print(lineOf(event, json))
      // Only after the whole bundle: until then the cursor stands before it.
      if (unread() > MAX_UNREAD_BYTES) setImmediate(() => end())
    })
    box.on('reset', ({ reason, missed }) => say(`reset (${reason}): ${missed === null ? 'events may be' : `${missed} events are`} missing; the present values follow`))
    box.on('error', ({ reason }) => say(harmless(reason)))
    box.on('hello', ({ profile }) => {
      if (!isGreeted || told !== '') say(`${isGreeted ? 'again ' : ''}connected to ${gateway.base} over ${profile}`)
      isGreeted = true
      told = ''
    })
    box.on('status', status => {
      if (status.state === 'refused') return end(failureOf(status.reason, status.code))
      if (!('reason' in status) || status.reason === undefined || status.reason === told) return
      // One line an outage: what follows the loss is the same story.
      if (told === '') say(`${harmless(status.reason)}; trying again`)
      told = status.reason
    })
    if (signal.aborted) interrupt()
  })
  try {
    for (;;) {
      await follow()
      await drained()
    }
  } finally {
    if (cursor !== '') say(`to go on from here: --since ${cursor}`)
  }
}
