// Commands: the list, a form for each, and the results.

import { ControlError } from '../client/index.ts'
import { explanationLines, missingText } from '../client/explanation.ts'
import type { Explanation } from '../client/explanation.ts'
import type { Box } from '../client/index.ts'
import { byId, make, mark, show, write } from './element.ts'
import { ArgsForm } from './form.ts'
import type { Schema } from './form.ts'
import { clock, duration, json, many, ms } from './format.ts'
import type { Reports } from './reports.ts'
import { roomsOf } from './rooms.ts'
import { settingsOf, textOf } from './settings.ts'
import type { SignIn } from './sign-in.ts'

interface CommandChoice {
  readonly name: string
  readonly description?: string
  readonly schema?: Schema
  readonly source?: string
}

interface Run {
  readonly command: string
  readonly args: Record<string, unknown>
  readonly at: number
  readonly outcome: string
  readonly kind: OutcomeKind
}

type OutcomeKind = 'good' | 'bad' | 'none'

/** Why a command was not accepted, and when it is sent again. */
interface Wait {
  readonly until: number
  readonly code: string
}

const MAX_RUNS = 20
/** From this many fields on the form takes the whole width of the page. */
const MANY_FIELDS = 5
const SOURCES: Readonly<Record<string, string>> = { 'built-in': 'Built in', module: 'COMMANDS_MODULE', backend: 'Backends' }
/** Commands that everybody connected notices, or that cannot be undone, with what they do. */
const DANGEROUS: Readonly<Record<string, string>> = {
  shutdown: 'The gateway shuts down: every worker drains and stops, and all clients are disconnected. It stays down unless a service manager starts it again.',
  clear: 'The values are deleted for all clients. The only way to restore them is to publish them again.',
  switch: 'All connections of the present profile end. Clients with our library return over the other one and miss nothing; a plain EventSource waits until the gateway is switched back.',
  disconnect: 'The clients are disconnected. They reconnect automatically and miss nothing.'
}

export class ControlPanel {
  readonly #box: Box
  readonly #reports: Reports
  readonly #signIn: SignIn
  readonly #choice = byId<HTMLSelectElement>('command')
  readonly #form = byId<HTMLFormElement>('command-form')
  readonly #run = byId<HTMLButtonElement>('run')
  readonly #result = byId('result')
  readonly #runs: Run[] = []
  #commands: readonly CommandChoice[] = []
  #args: ArgsForm | null = null
  #waiting: AbortController | null = null
  readonly #onShutdown: () => void

  /** @param onShutdown called after this page has shut the gateway down */
  constructor (box: Box, reports: Reports, signIn: SignIn, onShutdown: () => void) {
    this.#box = box
    this.#reports = reports
    this.#signIn = signIn
    this.#onShutdown = onShutdown
    this.#choice.addEventListener('change', () => this.#choose())
    this.#form.addEventListener('submit', event => {
      event.preventDefault()
      void this.#submit()
    })
    // The browser marks the field. The result must not show an earlier run beside it.
    this.#form.addEventListener('invalid', () => {
      const field = this.#form.querySelector<HTMLInputElement>(':invalid')
      if (field !== null) this.#showResult('bad', `${this.#choice.value} was not run: ${field.name === '' ? '' : `${field.name}: `}${field.validationMessage}`)
    }, true)
    byId('stop-waiting').addEventListener('click', () => this.#waiting?.abort())
    // After a restart the commands, and the way to send them, may differ.
    box.on('hello', () => { void this.#load() })
    // Who may hear nothing here may still run commands.
    box.on('status', ({ state }) => { if (state === 'refused') void this.#load() })
  }

  /** Whether one may run a command. */
  has (name: string): boolean {
    return this.#commands.some(command => command.name === name)
  }

  /** Fills the form in, and leaves it to the reader to run it. */
  prepare (name: string, args: Record<string, unknown>): void {
    this.#choice.value = name
    this.#choose(args)
    this.#run.scrollIntoView({ block: 'center' })
    this.#run.focus()
  }

  async #load (): Promise<void> {
    try {
      const profile = await this.#answer('/api/profile') as { control?: string | null } | null
      if (profile?.control === null) return this.#close('Commands over HTTP are not mounted on this gateway: it runs with ENABLE_CONTROL_HTTP=false.')
      const list = await this.#answer('/api/control') as { commands?: readonly CommandChoice[] } | null
      if (list?.commands === undefined) return this.#close('This gateway does not list its commands.')
      if (list.commands.length === 0) return this.#close('This token may run no commands: they need the grant “control”, which lists their names.')
      this.#offer(list.commands)
    } catch {
      // The connection will be lost too; the next hello loads the list again.
    }
  }

  async #answer (path: string): Promise<unknown> {
    const response = await this.#signIn.fetch(path)
    return response.ok ? await response.json() : null
  }

  #close (why: string): void {
    write(byId('control-none'), why)
    show(byId('control-none'), true)
    show(byId('control-place'), false)
  }

  #offer (commands: readonly CommandChoice[]): void {
    show(byId('control-none'), false)
    show(byId('control-place'), true)
    // A form that is partly filled in stays.
    if (JSON.stringify(commands) === JSON.stringify(this.#commands)) return
    const chosen = this.#choice.value
    this.#commands = commands
    const groups = new Map<string, CommandChoice[]>()
    for (const command of commands) groups.set(command.source ?? 'built-in', [...groups.get(command.source ?? 'built-in') ?? [], command])
    this.#choice.replaceChildren(...Array.from(groups, ([source, commands]) =>
      make('optgroup', { label: SOURCES[source] ?? source }, ...commands.map(({ name }) => make('option', { value: name }, name)))))
    this.#choice.value = commands.some(({ name }) => name === chosen) ? chosen : commands.find(({ name }) => name === 'ping')?.name ?? commands[0]?.name ?? ''
    this.#choose()
  }

  #choose (args: Record<string, unknown> = {}): void {
    const command = this.#commands.find(({ name }) => name === this.#choice.value)
    write(byId('command-about'), command?.description ?? '')
    const isTune = command?.name === 'tune'
    this.#args = new ArgsForm(command?.schema ?? {}, {
      present: name => {
        const setting = isTune ? settingsOf(this.#reports).find(setting => setting.name === name) : undefined
        return setting === undefined ? undefined : textOf(setting)
      },
      choices: name => name === 'room' ? roomsOf(this.#reports).rooms.map(({ room }) => room) : name === 'session' ? this.#sessions() : name === 'worker' ? this.#reports.of('gateway').map(({ key }) => key) : []
    })
    this.#args.fill(args)
    const { size, element } = this.#args
    const hint = size === 0 ? 'It takes no arguments.' : isTune ? `${many(size, 'setting')}. Fields left empty stay unchanged.` : ''
    byId('args').replaceChildren(...(hint === '' ? [] : [make('p', { class: 'hint' }, hint)]), ...(size === 0 ? [] : [element]))
    mark(byId('control-place'), { 'data-wide': size >= MANY_FIELDS })
    show(byId('danger'), DANGEROUS[this.#choice.value] !== undefined)
  }

  #sessions (): string[] {
    return this.#reports.of('sessions').flatMap(({ data }) => data.sessions ?? []).map(({ session }) => session)
  }

  async #submit (): Promise<void> {
    const command = this.#choice.value
    const filled = this.#args?.read() ?? { args: {} }
    if ('problem' in filled) {
      this.#showResult('bad', filled.problem)
      filled.field?.focus()
      return
    }
    const { args } = filled
    const warning = DANGEROUS[command]
    if (warning !== undefined && !await confirmed(command, args, warning)) return
    await this.#execute(command, args)
  }

  async #execute (command: string, args: Record<string, unknown>): Promise<void> {
    const began = performance.now()
    this.#waiting = new AbortController()
    this.#busy(true)
    let wait: Wait | null = null
    const tellProgress = (): void => this.#showResult('none', this.#progress(command, began, wait))
    tellProgress()
    const timer = setInterval(tellProgress, 1000)
    const onWait = (retryMs: number, code: string): void => {
      wait = { until: performance.now() + retryMs, code }
      tellProgress()
    }
    try {
      const { result } = await this.#box.control(command, args, { signal: this.#waiting.signal, onWait })
      const took = ms(Math.round(performance.now() - began))
      const nothing = nothingOf(result) ?? (command === 'explain' ? missingOf(result as Explanation, args) : null)
      const kind = nothing === null ? 'good' : 'none'
      this.#showResult(kind, nothing === null ? `${command} was done in ${took}.` : `${command} was run; ${nothing}.`, result)
      this.#remember({ command, args, at: Date.now(), outcome: nothing ?? `done in ${took}`, kind })
      if (command === 'shutdown') this.#onShutdown()
    } catch (error) {
      const isAborted = this.#waiting.signal.aborted
      this.#showResult(isAborted ? 'none' : 'bad', isAborted ? `This page has stopped waiting for ${command}. If it has started, it continues.` : sentence(command, error as Error, this.#pace()))
      this.#remember({ command, args, at: Date.now(), outcome: isAborted ? 'stopped waiting' : error instanceof ControlError ? error.code : 'failed', kind: 'bad' })
    } finally {
      clearInterval(timer)
      this.#busy(false)
    }
  }

  /** What a pending command is doing or waiting for. */
  #progress (command: string, began: number, wait: Wait | null): string {
    const isAway = ['stale', 'connecting'].includes(this.#box.status.state)
    const seconds = Math.ceil(((wait?.until ?? 0) - performance.now()) / 1000)
    if (isAway || (wait?.code === 'UNREACHABLE' && seconds > 0)) return `The gateway is not reachable: ${command} waits for it, for up to a minute.`
    if (wait !== null && seconds > 0) {
      return wait.code === 'RATE_LIMITED'
        ? `${this.#pace()} ${command} is sent again in ${seconds} s.`
        : `The gateway did not accept ${command} (${wait.code}). It is sent again in ${seconds} s.`
    }
    const passed = (performance.now() - began) / 1000
    return passed < 1 ? `${command} is running…` : `${command} has been running for ${duration(passed)}.`
  }

  /** The gateway's limit for commands. The client waits by itself when it is exceeded. */
  #pace (): string {
    const limit = settingsOf(this.#reports).find(({ name }) => name === 'CONTROL_RATE_LIMIT')?.value
    return typeof limit === 'number' && limit > 0 ? `${many(limit, 'command')} a second ${limit === 1 ? 'is' : 'are'} allowed.` : 'There were too many commands.'
  }

  #busy (yes: boolean): void {
    this.#run.disabled = yes
    write(this.#run, 'Run')
    show(byId('stop-waiting'), yes)
  }

  #showResult (kind: OutcomeKind, text: string, result?: unknown): void {
    mark(this.#result, { 'data-kind': kind })
    write(byId('result-text'), text)
    const place = byId('result-data')
    show(place, result !== undefined)
    write(place, result === undefined ? '' : changesOf(result) ?? fatesOf(result) ?? JSON.stringify(result, null, 2))
  }

  #remember (run: Run): void {
    this.#runs.unshift(run)
    this.#runs.splice(MAX_RUNS)
    show(byId('runs-place'), true)
    byId('runs').replaceChildren(...this.#runs.map(({ command, args, at, outcome, kind }) => {
      const again = make('button', { type: 'button', class: 'link', title: 'Fill in the form with this command again' }, command)
      again.addEventListener('click', () => {
        this.#choice.value = command
        this.#choose(args)
        this.#choice.focus()
      })
      const given = Object.keys(args).length === 0 ? '' : json(args)
      return make('li', {}, make('time', {}, clock(at)), again, make('code', {}, given), make('span', { class: 'outcome', 'data-kind': kind }, outcome))
    }))
  }
}

/** The changes that `tune` made, one per line. */
function changesOf (result: unknown): string | null {
  const { previous, now } = (result ?? {}) as { previous?: Record<string, unknown>, now?: Record<string, unknown> }
  if (typeof previous !== 'object' || typeof now !== 'object' || previous === null || now === null) return null
  return Object.keys(now).map(name => `${name}: ${String(previous[name])} → ${String(now[name])}`).join('\n')
}

/** What `explain` tells, a line for each session. */
function fatesOf (result: unknown): string | null {
  const explanation = (result ?? {}) as Partial<Explanation>
  return explanation.event == null || explanation.counts === undefined ? null : explanationLines(explanation as Explanation).join('\n')
}

/** Why `explain` tells of no event. */
const missingOf = (explanation: Explanation, { event, idempotencyKey }: Record<string, unknown>): string | null =>
  explanation.event === null ? missingText(explanation, String(event ?? idempotencyKey)) : null

/** Set if the command ran but found nothing to do. */
function nothingOf (result: unknown): string | null {
  const { ended, removed } = (result ?? {}) as { ended?: unknown, removed?: unknown }
  return ended === 0 ? 'no session was disconnected' : removed === 0 ? 'no value was removed' : null
}

function sentence (command: string, error: Error, pace: string): string {
  const message = error.message.replace(/\.$/, '')
  switch (error instanceof ControlError ? error.code : undefined) {
    case 'RATE_LIMITED': return `${command} was not run: the rate limit was exceeded for a whole minute. ${pace} Try again in a moment.`
    case 'BAD_COMMAND': return `${command} was not run: ${message}.`
    case 'COMMAND_FAILED': return `${command} was run and failed: ${message}.`
    case 'UNREACHABLE': return `The gateway did not answer for a minute. It is unknown whether ${command} ran.`
    case 'UNKNOWN': return `The outcome of ${command} is unknown: ${message}.`
    default: return `${command} was refused${error instanceof ControlError ? ` (${error.code})` : ''}: ${message}.`
  }
}

/** Asks for confirmation. The safe answer has the focus, and Escape selects it. */
async function confirmed (command: string, args: object, warning: string): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>('confirm')
  write(byId('confirm-title'), `Run ${command}?`)
  write(byId('confirm-text'), warning)
  write(byId('confirm-args'), Object.keys(args).length === 0 ? '' : JSON.stringify(args))
  write(byId('confirm-yes'), `Run ${command}`)
  dialog.returnValue = ''
  dialog.showModal()
  byId('confirm-no').focus()
  await new Promise(resolve => dialog.addEventListener('close', resolve, { once: true }))
  return dialog.returnValue === 'yes'
}
