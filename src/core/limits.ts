/**
 * Everything that bounds what the gateway takes in, keeps and sends, named as the settings are. 0 means no limit where
 * not said otherwise.
 */
export interface Limits {
  /** Longest tick, ms; 0 turns bundling and `maxEventsPerSecondPerClient` off. */
  readonly tickMs: number
  /** Shortest tick, ms. */
  readonly tickFloorMs: number
  /** Bundles a second to one client, and messages a second from one WebSocket client. */
  readonly maxEventsPerSecondPerClient: number
  /** Facts in one bundle. */
  readonly maxQueuePerClient: number
  /** Bytes of one event. */
  readonly maxHttpBufferSize: number
  /** Bytes of one bundle, before compression. */
  readonly maxBundleBytes: number
  /** Milliseconds a connection may hold bytes back before it is ended. */
  readonly slowClientTimeoutMs: number
  /** Members of a named room, over all processes. */
  readonly maxRoomSize: number
  /** Members of a named room that come from one caller. */
  readonly maxRoomSizePerCaller: number
  /** Named rooms. */
  readonly maxRooms: number
  readonly maxRoomsPerClient: number
  /** Bytes of present values over all rooms. */
  readonly stateBytes: number
  /** Connections; and those of one address. */
  readonly maxClients: number
  readonly maxClientsPerIp: number
  /** Connections of one subject of a token. */
  readonly maxClientsPerSubject: number
  /** Requests a second and caller. */
  readonly controlRateLimit: number
  readonly publishRateLimit: number
}
