// Lua scripts as typed calls. A script is one constant: its name, its text, and the types of its keys, arguments and
// reply. ioredis sends the text to each connection once and its digest after that, also when Redis has forgotten it.

import type { RedisClient } from './connect.ts'

type Arguments = ReadonlyArray<string | number>

/** Runs the script in one atomic step. @throws what Redis refuses it with, and what becomes of the connection */
export type Script<K extends readonly string[], A extends Arguments, R> = (client: RedisClient, keys: K, args: A) => Promise<R>

/**
 * @param name of the method it becomes on a client, where it is registered with its first call
 * @param reply `bytes` for a reply whose strings are Buffers
 */
export function script<K extends readonly string[], A extends Arguments, R> (name: string, lua: string, reply: 'text' | 'bytes' = 'text'): Script<K, A, R> {
  const method = reply === 'bytes' ? `${name}Buffer` : name
  return (client, keys, args) => {
    if (!(name in client)) client.defineCommand(name, { lua })
    // Nested, because ioredis flattens them: spread they would be limited by the stack.
    return (client as unknown as Record<string, (count: number, keys: K, args: A) => Promise<R>>)[method]!(keys.length, keys, args)
  }
}
