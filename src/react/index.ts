'use client'

// React hooks for a box. React is the application's own (a peer dependency).

import { createContext, createElement, useContext, useEffect, useMemo, useState, useSyncExternalStore } from 'react'
import type { Context, ReactNode } from 'react'
import { connect } from 'signalbox/client'
import type { Box, ConnectOptions, Event, RoomName, Status, Value } from 'signalbox/client'

type AnyEvents = Record<string, unknown>

export interface ProviderProps extends ConnectOptions {
  /** The gateway's address. Default: `/`, the page's own host. */
  readonly url?: string
  readonly children?: ReactNode
}

/** What `createHooks` returns. */
export interface Hooks<Events extends object = AnyEvents> {
  /**
   * Connects when it is mounted, and closes when it is unmounted. It connects anew only if `url`, `rooms`, `types`, `share` or
   * `credentials` are other ones; of `token`, `lastEventId` and `WebSocket` the first ones count.
   */
  readonly SignalboxProvider: (props: ProviderProps) => ReactNode
  /** @returns the provider's box; null during server rendering and before the provider is mounted */
  readonly useBox: () => Box<Events> | null
  /** @returns the state of the connection */
  readonly useStatus: () => Status
  /** @returns the newest value of a key; undefined if there is none */
  readonly useValue: <Type extends keyof Events & string>(room: string, type: Type, key: string) => Events[Type] | undefined
  /** @returns the events with the newest values of a room, in the order of their keys' first values; with `type` those of one type. The same array until one changes */
  readonly useValues: <Type extends keyof Events & string = keyof Events & string>(room: string, type?: Type) => ReadonlyArray<Value<Events, Type>>
  /** Calls `listener` with each event while the component is mounted. The latest listener counts: it needs no `useCallback`. */
  readonly useEvents: (listener: (event: Event<Events>) => void) => void
  /**
   * Listens to rooms while the component is mounted. Components that name the same room share it: it is left with the last of them.
   * @returns the gateway's refusal, a ControlError with `code`; null while there is none
   */
  readonly useRooms: (rooms: ReadonlyArray<string | RoomName>) => Error | null
}

const CONNECTING: Status = { state: 'connecting' }
const NOTHING: readonly never[] = []
const never = (): (() => void) => () => {}
const nothing = (): undefined => undefined

/** Leaving waits this long, so that a component that is mounted anew (StrictMode, a change of page) finds its room still joined. */
const LEAVE_MS = 1000

/** Hooks with a context of their own, for typed events or a second gateway. `Events` maps types to data. */
export function createHooks<Events extends object = AnyEvents> (): Hooks<Events> {
  const context: Context<Box<Events> | null> = createContext<Box<Events> | null>(null)
  const useBox = (): Box<Events> | null => useContext(context)

  function SignalboxProvider ({ url = '/', children, ...options }: ProviderProps): ReactNode {
    const [box, setBox] = useState<Box<Events> | null>(null)
    const { rooms, types, share, credentials, paceMs, pauseHidden } = options
    // Lists are written anew at each rendering.
    const signature = JSON.stringify([url, rooms, types, share, credentials, paceMs, pauseHidden])
    useEffect(() => {
      const box = connect<Events>(url, options)
      beginHolding(box, rooms?.length ? rooms : ['@public'])
      setBox(box)
      return () => {
        box.close()
        setBox(null)
      }
    }, [signature])
    return createElement(context.Provider, { value: box }, children)
  }

  function useStatus (): Status {
    const box = useBox()
    const subscribe = useMemo(() => box === null ? never : (listener: () => void) => box.on('status', listener), [box])
    return useSyncExternalStore(subscribe, () => box?.status ?? CONNECTING, () => CONNECTING)
  }

  function useValue<Type extends keyof Events & string> (room: string, type: Type, key: string): Events[Type] | undefined {
    const box = useBox()
    return useSyncExternalStore(box?.state.subscribe ?? never, () => box?.state.get(room, type, key), nothing)?.data as Events[Type] | undefined
  }

  function useValues<Type extends keyof Events & string> (room: string, type?: Type): ReadonlyArray<Value<Events, Type>> {
    const box = useBox()
    const look = useMemo(() => {
      let last: ReadonlyArray<Value<Events, Type>> = NOTHING
      return () => {
        const now = [...box?.state.entries() ?? []].filter(event => (event.room ?? '@public') === room && (type === undefined || event.type === type)) as Array<Value<Events, Type>>
        // React compares what it got: it must be the same array while nothing has changed.
        if (now.length !== last.length || now.some((event, index) => event !== last[index])) last = now
        return last
      }
    }, [box, room, type])
    return useSyncExternalStore(box?.state.subscribe ?? never, look, () => NOTHING)
  }

  function useEvents (listener: (event: Event<Events>) => void): void {
    const box = useBox()
    const [latest] = useState(() => ({ listener }))
    useEffect(() => { latest.listener = listener })
    useEffect(() => box?.on('event', event => latest.listener(event as Event<Events>)), [box])
  }

  function useRooms (rooms: ReadonlyArray<string | RoomName>): Error | null {
    const box = useBox()
    const [error, setError] = useState<Error | null>(null)
    useEffect(() => {
      if (box === null || rooms.length === 0) return
      let isMounted = true
      setError(null)
      const release = hold(box as Box, rooms, error => { if (isMounted) setError(error) })
      return () => {
        isMounted = false
        release()
      }
    }, [box, JSON.stringify(rooms)])
    return error
  }

  return { SignalboxProvider, useBox, useStatus, useValue, useValues, useEvents, useRooms }
}

/** A room that components of a box hold. */
interface Hold {
  readonly room: string
  /** The answer to its join. */
  readonly joined: Promise<unknown>
  holders: number
}

/** By box, and then by the JSON of what is joined. */
const holds = new WeakMap<object, Map<string, Hold>>()

/** The rooms that a box begins with are its own: no component leaves them. */
function beginHolding (box: object, rooms: readonly string[]): void {
  holds.set(box, new Map(rooms.map(room => [JSON.stringify(room), { room, joined: Promise.resolve(), holders: 1 }])))
}

/** Joins the rooms that nobody else holds. @returns a function that leaves those that nobody else holds then */
function hold (box: Box, rooms: ReadonlyArray<string | RoomName>, onRefused: (error: Error) => void): () => void {
  const held = holds.get(box) as Map<string, Hold>
  const fresh = rooms.filter(room => !held.has(JSON.stringify(room)))
  const joined = fresh.length === 0 ? Promise.resolve() : box.join(fresh)
  const mine = rooms.map(room => {
    const name = JSON.stringify(room)
    const known = held.get(name) ?? { room: typeof room === 'string' ? room : room.room, joined, holders: 0 }
    held.set(name, known)
    known.holders++
    // The next component that names it asks again.
    known.joined.catch(error => {
      if (held.get(name) === known) held.delete(name)
      onRefused(error as Error)
    })
    return { name, known }
  })
  return () => {
    setTimeout(() => {
      const over = mine.filter(({ name, known }) => --known.holders === 0 && held.get(name) === known)
      for (const { name } of over) held.delete(name)
      const kept = new Set(Array.from(held.values(), ({ room }) => room))
      const left = over.map(({ known }) => known.room).filter(room => !kept.has(room))
      // It is refused if the box is closed.
      if (left.length > 0) box.leave(left).catch(() => {})
    }, LEAVE_MS)
  }
}

/** Hooks of one gateway, for events of any type. */
const hooks: Hooks = createHooks()
export const SignalboxProvider: Hooks['SignalboxProvider'] = hooks.SignalboxProvider
export const useBox: Hooks['useBox'] = hooks.useBox
export const useStatus: Hooks['useStatus'] = hooks.useStatus
export const useValue: Hooks['useValue'] = hooks.useValue
export const useValues: Hooks['useValues'] = hooks.useValues
export const useEvents: Hooks['useEvents'] = hooks.useEvents
export const useRooms: Hooks['useRooms'] = hooks.useRooms
