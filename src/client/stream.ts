// SSE by fetch rather than by EventSource, which hides the heartbeats, the status of a refusal and its Retry-After,
// and comes back by rules of its own.

import { endOfBye, endOfRefusal, LOST, readAnswer } from './wire.ts'
import type { Delivery, End, TransportOptions } from './wire.ts'

export async function streamTransport (address: string, { rooms, types, cursor, headers, signal, alive, deliver }: TransportOptions): Promise<End> {
  const query = new URLSearchParams(Object.entries({ rooms: rooms.join(), types: types.join(), lastEventId: cursor }).filter(([, value]) => value !== ''))
  const response = await fetch(`${address}?${query}`, { headers: { ...headers, Accept: 'text/event-stream' }, cache: 'no-store', signal })
  if (!response.ok || response.body === null) return endOfRefusal(await readAnswer(response))
  let end: End | null = null
  let lost = LOST
  const parse = eventStreamParser((event, text, id) => {
    const data = JSON.parse(text)
    if (event === 'bye') end = endOfBye(data)
    else deliver({ kind: event === 'message' ? 'events' : event, data, cursor: id } as Delivery)
  }, retryMs => { lost = { ...LOST, retryMs } })
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      alive()
      parse(value)
      if (end !== null) break
    }
  } catch (error) {
    // A break is as good as an end, unless it was ours.
    if (signal.aborted) throw error
  } finally {
    reader.cancel().catch(() => {})
  }
  return end ?? lost
}

/**
 * Understands `text/event-stream` in pieces as they come (HTML Standard, 9.2.6).
 * @param onMessage the event's name, its data, and its own id, null where it has none
 * @param onRetry when to come back after a loss, ms
 */
export function eventStreamParser (onMessage: (event: string, data: string, id: string | null) => void, onRetry: (ms: number) => void): (chunk: string) => void {
  let unfinished = ''
  let event = ''
  let data: string[] = []
  let id: string | null = null
  const takeLine = (line: string): void => {
    if (line === '') {
      if (data.length > 0) onMessage(event === '' ? 'message' : event, data.join('\n'), id)
      event = ''
      data = []
      id = null
      return
    }
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) as RegExpExecArray
    switch (field) {
      case 'event': event = value; break
      case 'data': data.push(value); break
      case 'id': id = value; break
      case 'retry': if (/^\d+$/.test(value)) onRetry(Number(value))
    }
  }
  return chunk => {
    const lines = chunk.split('\n')
    lines[0] = unfinished + (lines[0] as string)
    unfinished = lines.pop() as string
    // A proxy may have made CRLF of LF; a lone CR nobody sends.
    for (const line of lines) takeLine(line.endsWith('\r') ? line.slice(0, -1) : line)
  }
}
