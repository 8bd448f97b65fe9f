// A command line that publishes an event, to copy into a shell.

import { byId, show, write } from './element.ts'
import { here } from './here.ts'
import type { SignIn } from './sign-in.ts'

const FEEDBACK_MS = 3000

export function offerCurl (signIn: Pick<SignIn, 'isNeeded' | 'may'>): void {
  const event = { type: 'greeting', key: 'me', data: 'Hello' }
  // The command may run with another token than the page has.
  show(byId('publish-missing'), !signIn.may('publish', '@public'))
  const token = signIn.isNeeded ? ' -H "Authorization: Bearer $SIGNALBOX_TOKEN"' : ''
  const line = `curl -X POST ${here('/api/events')}${token} -H 'Content-Type: application/json' -d '${JSON.stringify(event)}'`
  write(byId('curl'), line)
  const button = byId('copy')
  const copy = async (): Promise<void> => {
    write(button, await copied(line) ? 'Copied' : 'Selected: press Ctrl+C or ⌘C')
    setTimeout(() => write(button, 'Copy'), FEEDBACK_MS)
  }
  button.addEventListener('click', () => { void copy() })
}

/** Pages loaded over plain HTTP from another host have no clipboard. */
async function copied (text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    window.getSelection()?.selectAllChildren(byId('curl'))
    return false
  }
}
