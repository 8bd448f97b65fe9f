// Decides when a connection has caught up: it has received all present values, and all events from before it was made.

import { compareIds } from './wire.ts'
import type { Delivery, Hello, ProfileName, Status } from './wire.ts'

/** After this long without events nothing is left to catch up with. */
const QUIET_MS = 1000

export interface CatchUp {
  take_: (delivery: Delivery) => void
  end_: () => void
}

export function catchUpOf (setStatus: (status: Status) => void): CatchUp {
  let profile: ProfileName = 'SSE'
  let head = ''
  let isSnapshot = false
  let isBehind = false
  let quiet: ReturnType<typeof setTimeout> | undefined

  const end_ = (): void => clearTimeout(quiet)

  function wait (): void {
    end_()
    quiet = setTimeout(arrive, QUIET_MS)
  }

  function arrive (): void {
    end_()
    isBehind = false
    settle()
  }

  function settle (): void {
    if (!isSnapshot && !isBehind) setStatus({ state: 'connected', profile })
  }

  return {
    take_ ({ kind, data }) {
      if (kind === 'hello' || kind === 'reset') {
        const hello = data as Partial<Hello>
        profile = hello.profile ?? profile
        head = hello.head ?? head
        isSnapshot = hello.position !== 'resumed'
        isBehind = hello.position !== 'new'
        setStatus({ state: 'catching-up', profile })
        wait()
      } else if (kind === 'ready') {
        isSnapshot = false
        settle()
      } else if (kind === 'events') {
        // Present values arrive ahead of pending facts, so the last fact decides.
        const last = data.findLast(({ key }) => key === undefined) ?? data.at(-1)
        if (!isBehind || !last) return
        if (compareIds(last.id, head) < 0) wait()
        else arrive()
      }
    },
    end_
  }
}
