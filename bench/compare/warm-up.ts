// A server that has run for a while: Node compiles code that is used often, and at twenty events a second what takes them
// in would not be for minutes.

const EVENTS = 3000

/** Publishes so many events, one after the other; best before anybody listens. */
export async function warmUp (publish: () => Promise<unknown>): Promise<void> {
  for (let n = 0; n < EVENTS; n++) await publish()
}
