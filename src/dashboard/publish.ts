// A line to publish with, to be copied into a shell.

import { byId, write } from './element.ts'

const THANKS_MS = 3000

export function offerCurl (): void {
  const event = { type: 'greeting', key: 'me', data: 'Hello' }
  const line = `curl -X POST ${window.location.origin}/api/events -H 'Content-Type: application/json' -d '${JSON.stringify(event)}'`
  write(byId('curl'), line)
  const button = byId('copy')
  button.addEventListener('click', async () => {
    write(button, await copied(line) ? 'Copied' : 'Selected: copy it with the keyboard')
    setTimeout(() => write(button, 'Copy'), THANKS_MS)
  })
}

/** The clipboard is not there on pages that came over plain HTTP from another host. */
async function copied (text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    window.getSelection()?.selectAllChildren(byId('curl'))
    return false
  }
}
