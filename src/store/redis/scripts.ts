// Lua scripts as typed calls. A script is one constant: its name, its text, and the types of its keys, arguments and
// reply. ioredis sends the text to each connection once and its digest after that; where Redis has
// forgotten the digest, it sends the text again.

import type { RedisClient } from './connect.ts'

/** Lua: `now`, the server's time in ms. */
export const NOW = 'local t = redis.call(\'TIME\')\nlocal now = t[1] * 1000 + math.floor(t[2] / 1000)\n'

/** Lua: `parts`, the two numbers of an id. */
export const PARTS = `
local function parts (id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end
`

type Arguments = ReadonlyArray<string | number>

/** Runs the script in one atomic step. @throws the error of Redis, or of the connection */
export type Script<K extends readonly string[], A extends Arguments, R> = (client: RedisClient, keys: K, args: A) => Promise<R>

/**
 * @param name of the method that it becomes on a client, with its first call there
 * @param reply `bytes`: the strings of the reply are Buffers
 */
export function script<K extends readonly string[], A extends Arguments, R> (name: string, lua: string, reply: 'text' | 'bytes' = 'text'): Script<K, A, R> {
  const method = reply === 'bytes' ? `${name}Buffer` : name
  return (client, keys, args) => {
    if (!(name in client)) client.defineCommand(name, { lua })
    // ioredis flattens its arguments. Spread, a long list would overflow the stack.
    return (client as unknown as Record<string, (count: number, keys: K, args: A) => Promise<R>>)[method]!(keys.length, keys, args)
  }
}
