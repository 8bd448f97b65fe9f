// Where the gateway lies on a server of somebody else: what stands before its own paths in the address, as the client sees it.

import type { IncomingMessage } from 'node:http'

const mounts = new WeakMap<IncomingMessage, string>()
/** What may stand in a path, without what ends the path of a cookie: it is written into cookies and pages. */
const PATH = /^\/[\w.~%!$&'()*+=:@/-]*$/

/** Empty on a server of its own. */
export const mountOf = (request: IncomingMessage): string => mounts.get(request) ?? ''

export function setMount (request: IncomingMessage, path: string): void {
  if (PATH.test(path)) mounts.set(request, path)
}
