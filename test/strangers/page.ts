// The viewers of a page, bundled for it: `viewers.start(name, url)`, `viewers.seen`.

import { fetchEventSource as fetching } from '@microsoft/fetch-event-source'
import { EventSourcePolyfill } from 'event-source-polyfill'
import { fetchEventSource, newSeen, plain } from './viewers.ts'
import type { Seen, Watch } from './viewers.ts'

const WATCHES: Record<string, Watch> = {
  EventSource: plain(EventSource),
  'event-source-polyfill': plain(EventSourcePolyfill),
  '@microsoft/fetch-event-source': fetchEventSource(fetching)
}

export const names = Object.keys(WATCHES)
export const seen: Record<string, Seen> = {}

export function start (url: string): void {
  for (const [name, watch] of Object.entries(WATCHES)) watch(url, seen[name] = newSeen())
}
