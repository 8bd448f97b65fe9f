/** Everything that bounds what the gateway takes in, keeps and sends. 0 means no limit where not said otherwise. */
export interface Limits {
  /** Longest tick, ms; 0 turns bundling and `messagesPerSecond` off. */
  readonly tickMs: number
  /** Shortest tick, ms. */
  readonly tickFloorMs: number
  /** Bundles a second to one client, and messages a second from one WebSocket client. */
  readonly messagesPerSecond: number
  /** Facts in one bundle. */
  readonly bundleFacts: number
  /** Bytes of events in one bundle, and of one event. */
  readonly bundleBytes: number
  /** Milliseconds a connection may hold bytes back before it is ended. */
  readonly slowMs: number
  /** Members of a named room. */
  readonly roomSize: number
  readonly rooms: number
  readonly roomsPerClient: number
  /** Connections; and those of one address. */
  readonly clients: number
  readonly clientsPerAddress: number
  /** Requests a second and caller. */
  readonly controlPerSecond: number
  readonly publishPerSecond: number
}
