// The client's public API. docs/client.md describes it.

export { connect } from './box.ts'
export type { Box, Happenings } from './box.ts'
export { ControlError } from './control.ts'
export type { CommandResult, ControlOptions } from './control.ts'
export { ControlAPI, RobustEventSource } from './earlier.ts'
export type { ConnectOptions, RoomName } from './options.ts'
export type { State } from './state.ts'
export type { Event, Hello, Joined, Left, Problem, Ready, Reset, Status, Value } from './wire.ts'
