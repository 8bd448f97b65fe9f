// A gateway with tokens, and what asks it: plain requests, and knocks at the door of either profile.

import { createHmac } from 'node:crypto'
import { request } from 'node:http'
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { checkAnswer } from '../tools/answers.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { upgradeHeaders } from '../wire/codec.ts'
import { startServer } from '../wire/harness.ts'
import type { Server, ServerOptions } from '../wire/harness.ts'

export const SECRET = 'q0N7tJm2vXe9KfRz4LwYbC1hUdPs6TgA8iOoE3xVnMk='

export const now = (): number => Math.floor(Date.now() / 1000)

export type Grants = Partial<Record<'subscribe' | 'publish' | 'control', unknown>>

const part = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** Any text as a token, signed by HMAC: right or wrong in whatever way. Written without a library, which would refuse to write most of them. */
export function signed (payload: unknown, { header = {}, secret = SECRET }: { header?: object, secret?: string | Buffer } = {}): string {
  const text = `${part({ alg: 'HS256', typ: 'JWT', ...header })}.${part(payload)}`
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
}

/** A good token. */
export const token = (signalbox: unknown, claims: object = {}, secret = SECRET): string =>
  signed({ sub: 'ada', exp: now() + 600, ...(signalbox === undefined ? {} : { signalbox }), ...claims }, { secret })

export const ALL: Grants = { subscribe: ['*', '@system'], publish: ['*'], control: ['*'] }

export const bearer = (text: string): { Authorization: string } => ({ Authorization: `Bearer ${text}` })

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Parsed where it is JSON. Of a stream: what came up to the end of its first events. */
  readonly body: any
}

export interface Question {
  readonly method?: string
  readonly headers?: OutgoingHttpHeaders
  readonly body?: unknown
}

/** Asks once. A stream and a socket are left as soon as they have answered. */
export async function ask (port: number, path: string, { method, headers = {}, body }: Question = {}): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const asked = request({ port, host: '127.0.0.1', path, method: method ?? (text === undefined ? 'GET' : 'POST'), agent: false, headers: { ...(text === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers } })
    asked.on('error', reject)
    asked.on('upgrade', ({ headers }, socket) => {
      socket.destroy()
      resolve({ status: 101, headers, body: '' })
    })
    asked.on('response', response => {
      let body = ''
      const { statusCode: status = 0, headers } = response
      const done = (): void => {
        asked.destroy()
        const isJson = headers['content-type']?.startsWith('application/json') === true && body !== ''
        const answer: Answer = { status, headers, body: isJson ? JSON.parse(body) : body }
        try {
          if (isJson) checkAnswer(asked.method, path.split('?', 1)[0] as string, status, answer.body)
          resolve(answer)
        } catch (error) {
          reject(error)
        }
      }
      response.setEncoding('utf8').on('data', chunk => {
        body += chunk
        if (headers['content-type']?.startsWith('text/event-stream') === true && body.includes('\n\n')) done()
      }).on('end', done).on('error', done)
    })
    asked.end(text)
  })
}

export const DOORS: Readonly<Record<ProfileName, string>> = { SSE: '/api/events/stream', WEBSOCKET: '/api/events/ws' }
/** The status of an open door. */
export const OPEN: Readonly<Record<ProfileName, number>> = { SSE: 200, WEBSOCKET: 101 }

/** Asks for the stream, or for the socket. */
export async function knock (profile: ProfileName, port: number, query = '', headers: OutgoingHttpHeaders = {}): Promise<Answer> {
  return await ask(port, `${DOORS[profile]}${query}`, { headers: { ...(profile === 'WEBSOCKET' ? upgradeHeaders() : {}), ...headers } })
}

/** A gateway that asks for tokens; ends with the test. Nothing but tokens is limited. */
export async function guarded (t: Test, options: ServerOptions): Promise<Server> {
  const server = await startServer({ authJwtSecret: SECRET, ...options })
  t.teardown(async () => await server.close())
  return server
}

export const STORES = [
  { name: 'the embedded store', skip: false as const, start: async (_t: Test): Promise<{ redis?: string }> => ({}) },
  { name: 'Redis', skip: skipWithout('redis'), start: async (t: Test): Promise<{ redis?: string }> => ({ redis: (await RedisServer.start(t)).url }) }
]
