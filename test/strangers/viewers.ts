// Viewers written without us: each speaks to the gateway as the documentation of its library, or docs/getting-started.md, has it. They
// run in Node or in a page, so nothing here needs either.

import type { EventSourceClient, FetchLike } from 'eventsource-client'

/** What one viewer has received, as plain data. */
export interface Seen {
  /** Ids of un-keyed events, in order of arrival. */
  readonly facts: string[]
  /** Id of the value held, by `room type key`. */
  readonly values: Record<string, string>
  readonly resets: string[]
  readonly byes: string[]
  /** Errors that its handlers threw. */
  readonly mistakes: string[]
  /** Connections that said hello, and snapshots that were complete. */
  opened: number
  ready: number
}

/** Starts a viewer. @param url of a stream, with a query. @returns ends it */
export type Watch = (url: string, seen: Seen) => () => void

export const newSeen = (): Seen => ({ facts: [], values: {}, resets: [], byes: [], mistakes: [], opened: 0, ready: 0 })

const NAMES = ['message', 'hello', 'ready', 'reset', 'bye', 'position']

/** @param data of a message of that name: always JSON, as protocol.md says */
function take (seen: Seen, name: string, data: string): void {
  try {
    const value = JSON.parse(data)
    if (name === 'hello') seen.opened++
    else if (name === 'ready') seen.ready++
    else if (name === 'reset') seen.resets.push(value.reason)
    else if (name === 'bye') seen.byes.push(value.reason)
    else if (name === 'message') {
      for (const { id, room = '@public', type, key } of value) {
        if (key === undefined) seen.facts.push(id)
        else seen.values[`${room} ${type} ${key}`] = id
      }
    }
  } catch (error) {
    seen.mistakes.push(`${name} ${JSON.stringify(data)}: ${(error as Error).message}`)
    throw error
  }
}

interface Source {
  readonly readyState: number
  onerror: unknown
  close (): void
  addEventListener (name: any, listen: (event: any) => void): void
}

/** The example of docs/getting-started.md, over any class with the interface of the browser's EventSource. */
export const plain = (Class: new (url: string) => Source): Watch => (url, seen) => {
  let lastId = ''
  let source: Source
  let closed = false
  const open = (): void => {
    if (closed) return
    source = new Class(lastId === '' ? url : `${url}&lastEventId=${encodeURIComponent(lastId)}`)
    for (const name of NAMES) {
      source.addEventListener(name, ({ data, lastEventId }) => {
        if (lastEventId !== '') lastId = lastEventId
        take(seen, name, data)
      })
    }
    // It has given up: Firefox does where the port refuses it, every browser for an answer that is not 200.
    source.onerror = () => { if (source.readyState === 2) setTimeout(open, 1000) }
  }
  open()
  return () => {
    closed = true
    source.close()
  }
}

export const eventSourceClient = (createEventSource: (options: { url: string, fetch?: FetchLike, onMessage: (message: { event?: string | undefined, data: string }) => void }) => EventSourceClient): Watch => (url, seen) => {
  const client = createEventSource({ url, onMessage: ({ event = 'message', data }) => take(seen, event, data) })
  return () => client.close()
}

export const fetchEventSource = (fetchEventSource: (url: string, options: { openWhenHidden: boolean, signal: AbortSignal, onmessage: (message: { event: string, data: string }) => void }) => Promise<void>): Watch => (url, seen) => {
  const ending = new AbortController()
  fetchEventSource(url, { openWhenHidden: true, signal: ending.signal, onmessage: ({ event, data }) => take(seen, event === '' ? 'message' : event, data) })
    .catch(error => seen.mistakes.push(String(error)))
  return () => ending.abort()
}
