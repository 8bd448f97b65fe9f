// One SSE connection, read with fetch. EventSource would hide heartbeats, the status of a refusal and its Retry-After,
// and has its own reconnect rules.

import { endOfRefusal, entryOf, LOST, readAnswer, strangerAt } from './wire.ts'
import type { Carrier, End } from './wire.ts'

export async function readStream (address: string, { wishes_, cursor_, extras_, request_, signal_, alive_, hear_ }: Carrier): Promise<End> {
  const types = String(wishes_[0]?.types)
  const query = new URLSearchParams({
    ...wishes_.some(wish => String(wish.types) !== types)
      ? { join: JSON.stringify(wishes_.map(entryOf)) }
      : { rooms: String(wishes_.map(({ room }) => room)), types },
    lastEventId: cursor_,
    ...extras_ as {}
  })
  // Percent-encoding would triple what names consist of, and the address has a limit.
  const response = await request_(`${address}?${String(query).replace(/%(2C|2F|3A|3B|40)/g, decodeURIComponent)}`, { headers: { Accept: 'text/event-stream' } })
  if (!response.ok) return endOfRefusal(await readAnswer(response))
  if (!/^text\/event-stream/i.test(response.headers.get('Content-Type') as string)) return strangerAt(response)
  let end: End | null = null
  let lost = LOST
  const parse = eventStreamParser((event, text, id) => {
    // Nothing that follows may move the cursor past a message that will be asked for again.
    end ??= hear_(() => ({ event: event || 'events', data: JSON.parse(text), id }), id)
  }, retryMs => { lost = { ...LOST, retryMs } })
  const reader = (response.body as NonNullable<Response['body']>).pipeThrough(new TextDecoderStream()).getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      alive_()
      parse(value)
      if (end !== null) break
    }
  } catch (error) {
    // A broken stream counts as ended, unless this client aborted it.
    if (signal_.aborted) throw error
  } finally {
    reader.cancel().catch(() => {})
  }
  return end ?? lost
}

/**
 * Parses `text/event-stream` in chunks (HTML Standard, 9.2.6).
 * @param onMessage receives the event's name, empty without one, its data, and its id or null
 * @param onRetry receives the delay before reconnecting after a loss, ms
 */
function eventStreamParser (onMessage: (event: string, data: string, id: string | null) => void, onRetry: (ms: number) => void): (chunk: string) => void {
  let unfinished = ''
  let event = ''
  let data: string[] = []
  let id: string | null = null
  return chunk => {
    const lines = chunk.split('\n')
    lines[0] = unfinished + (lines[0] as string)
    unfinished = lines.pop() as string
    for (const line of lines) {
      // A proxy may have turned LF into CRLF. Nothing sends a lone CR.
      const [text, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line.replace(/\r$/, '')) as RegExpExecArray
      if (field === 'event') event = value
      else if (field === 'data') data.push(value)
      else if (field === 'id') id = value
      else if (field === 'retry' && /^\d+$/.test(value)) onRetry(Number(value))
      else if (text === '') {
        if (data.length > 0) onMessage(event, data.join('\n'), id)
        event = ''
        data = []
        id = null
      }
    }
  }
}
