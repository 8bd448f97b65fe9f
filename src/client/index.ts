// The client's public API. docs/client.md describes it.

export { connect } from './box.ts'
export type { Box, Happenings } from './box.ts'
export { ControlError } from './control.ts'
export type { CommandResult, ControlOptions } from './control.ts'
export { ControlAPI, RobustEventSource } from './earlier.ts'
export type { ConnectOptions } from './options.ts'
export type { Event, Hello, Problem, Ready, Reset, Status } from './wire.ts'
