// Preloaded into the gateway: its wall clock is as far off as CHAOS_CLOCK's file says, in ms. The monotonic clock stays.

import { readFileSync } from 'node:fs'

const { now } = Date
let offset = 0
const look = () => {
  try { offset = Number(readFileSync(process.env.CHAOS_CLOCK, 'utf8')) } catch {}
}
look()
setInterval(look, 50).unref()
Date.now = () => now() + offset
globalThis.Date = new Proxy(Date, { construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [target.now()] : args, newTarget) })
