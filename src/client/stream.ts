// One SSE connection, read with fetch. EventSource would hide heartbeats, the status of a refusal and its Retry-After,
// and has its own reconnect rules.

import { deliveryOf, endOfBye, endOfRefusal, LOST, readAnswer, strangerAt } from './wire.ts'
import type { End, TransportOptions } from './wire.ts'

export async function streamTransport (address: string, { rooms, types, cursor, request, signal, alive, deliver, unreadable }: TransportOptions): Promise<End> {
  // Percent-encoding would triple what names consist of, and the address has a limit.
  const query = String(new URLSearchParams({ rooms: rooms.join(), types: types.join(), lastEventId: cursor }))
    .replace(/%(2C|2F|3A|3B|40)/g, decodeURIComponent)
  const response = await request(`${address}?${query}`, { headers: { Accept: 'text/event-stream' } })
  if (!response.ok || response.body === null) return endOfRefusal(await readAnswer(response))
  if (!/^text\/event-stream/i.test(response.headers.get('Content-Type') ?? '')) return strangerAt(response)
  let end: End | null = null
  let lost = LOST
  const parse = eventStreamParser((event, text, id) => {
    // Nothing that follows may move the cursor past a message that will be asked for again.
    if (end !== null) return
    try {
      const data = JSON.parse(text)
      if (event === 'bye') end = endOfBye(data)
      const delivery = deliveryOf(event === 'message' ? 'events' : event, data, id)
      if (delivery !== null) deliver(delivery)
    } catch {
      end = unreadable(id)
    }
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
    // A broken stream counts as ended, unless this client aborted it.
    if (signal.aborted) throw error
  } finally {
    reader.cancel().catch(() => {})
  }
  return end ?? lost
}

/**
 * Parses `text/event-stream` in chunks (HTML Standard, 9.2.6).
 * @param onMessage receives the event's name, its data, and its id or null
 * @param onRetry receives the delay before reconnecting after a loss, ms
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
    // A proxy may have turned LF into CRLF. Nothing sends a lone CR.
    for (const line of lines) takeLine(line.endsWith('\r') ? line.slice(0, -1) : line)
  }
}
