/** The log as most of the gateway needs it. Any pino logger is one. */
export interface Logger {
  info (details: object, message: string): void
  warn (details: object, message: string): void
  error (details: object, message: string): void
}
