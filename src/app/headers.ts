// Headers as they came, before Node made one of several with the same name.

/** How many headers have this name. @param name in lower case */
export function timesNamed (name: string, rawHeaders: readonly string[]): number {
  let times = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const found = rawHeaders[at] as string
    if (found.length === name.length && found.toLowerCase() === name) times++
  }
  return times
}
