// Bodies on their way in: what is held for the unfinished ones is bounded in sum (arrivals.ts), and each in its pieces. Every
// chunk of a body is an object of its own until the last one is here: two million of one byte filled a heap of 256 MB.

import type { IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'
import type { Arrivals, Sender } from './arrivals.ts'
import { answerBare } from './errors.ts'

/** Bodies known to be no larger need no watching. */
const SMALL_BYTES = 16 * 1024
/** What a chunk takes besides its bytes. */
const PIECE_BYTES = 256
/** A body may come in so many pieces, however small, and in more where they have this many bytes on average. */
const MAX_PIECES = 2048
const MEAN_BYTES = 256

export default fp(async (app: FastifyInstance, { arrivals }: { arrivals: Arrivals }) => {
  app.addHook('preParsing', (request, _reply, payload, done) => {
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers
    if (coding !== undefined || Number(length ?? 0) > SMALL_BYTES) watch(request.raw)
    done(null, payload)
  })

  function watch (message: IncomingMessage): void {
    let bytes = 0
    let pieces = 0
    const sender: Sender = {
      giveUp: bound => bound === 'arriving'
        ? refuse(message, '503 Service Unavailable', new Refusal('OVERLOADED', 'too many bodies are on their way at once; try again in a moment'))
        : refuse(message, '408 Request Timeout', new Refusal('BAD_REQUEST', 'the request took too long to arrive (REQUEST_TIMEOUT)'))
    }
    const over = (): void => arrivals.forget(sender)
    message.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      pieces++
      if (pieces > MAX_PIECES && bytes < pieces * MEAN_BYTES) {
        over()
        app.troubles.bounds.pieces++
        // Reading on would cost most of a core.
        setImmediate(() => message.socket.pause())
        refuse(message, '400 Bad Request', new Refusal('BAD_REQUEST', `a body in more than ${MAX_PIECES} pieces must have ${MEAN_BYTES} bytes in each on average; send larger chunks`))
      } else {
        arrivals.note(sender, bytes + pieces * PIECE_BYTES)
      }
    })
    message.once('end', over)
    message.once('close', over)
  }
}, { name: 'bodies', dependencies: ['errors'] })

/** Answers before the body is here, and lets go of what there is of it. */
function refuse (message: IncomingMessage, status: string, refusal: Refusal): void {
  message.removeAllListeners('data')
  message.resume()
  answerBare(message.socket, status, refusal)
}
