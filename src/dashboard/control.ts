// Commands: which there are, a form for each, what came of those that were run.

import { ControlError } from '../client/index.ts'
import type { Box } from '../client/index.ts'
import { byId, make, mark, show, write } from './element.ts'
import { ArgsForm } from './form.ts'
import type { Schema } from './form.ts'
import { clock, duration, json, many, ms } from './format.ts'
import type { Reports } from './reports.ts'
import { roomsOf } from './rooms.ts'
import { settingsOf, textOf } from './settings.ts'

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

/** Why a command was not taken, and when it is sent again. */
interface Wait {
  readonly until: number
  readonly code: string
}

const MAX_RUNS = 20
const ANSWER_MS = 10_000
/** So many fields have the width of the page. */
const MANY_FIELDS = 5
const SOURCES: Readonly<Record<string, string>> = { 'built-in': 'Built in', module: 'COMMANDS_MODULE', backend: 'Of backends' }
/** What cannot be taken back, and what it does. */
const DANGEROUS: Readonly<Record<string, string>> = {
  shutdown: 'The gateway ends: every worker drains and stops, and all clients are sent away. Nothing starts it again unless a service manager does.',
  clear: 'The values are deleted for everybody, and nothing brings them back but publishing them again.',
  disconnect: 'The clients are cut off. They come back by themselves, and miss nothing.'
}

export class ControlPanel {
  readonly #box: Box
  readonly #reports: Reports
  readonly #choice = byId<HTMLSelectElement>('command')
  readonly #form = byId<HTMLFormElement>('command-form')
  readonly #run = byId<HTMLButtonElement>('run')
  readonly #result = byId('result')
  readonly #runs: Run[] = []
  #commands: readonly CommandChoice[] = []
  #args: ArgsForm | null = null
  #waiting: AbortController | null = null
  readonly #ended: () => void

  /** @param ended the gateway was told to end */
  constructor (box: Box, reports: Reports, ended: () => void) {
    this.#box = box
    this.#reports = reports
    this.#ended = ended
    this.#choice.addEventListener('change', () => this.#choose())
    this.#form.addEventListener('submit', event => {
      event.preventDefault()
      void this.#submit()
    })
    // The browser complains beside the field; what was told of another run is over.
    this.#form.addEventListener('invalid', () => {
      const field = this.#form.querySelector<HTMLInputElement>(':invalid')
      if (field !== null) this.#tell('bad', `${this.#choice.value} was not run: ${field.name === '' ? '' : `${field.name}: `}${field.validationMessage}`)
    }, true)
    byId('stop-waiting').addEventListener('click', () => this.#waiting?.abort())
    // Another start may have other commands, and another profile other doors.
    box.on('hello', () => { void this.#load() })
  }

  async #load (): Promise<void> {
    try {
      const profile = await answer('/api/profile') as { control?: string | null } | null
      if (profile?.control === null) return this.#close('Commands over HTTP are not mounted on this gateway: it was started with ENABLE_CONTROL_HTTP=false.')
      const told = await answer('/api/control') as { commands?: readonly CommandChoice[] } | null
      if (told?.commands === undefined) return this.#close('This gateway does not say which commands it has.')
      this.#offer(told.commands)
    } catch {
      // The connection will be lost too, and this asked again when it is back.
    }
  }

  #close (why: string): void {
    write(byId('control-none'), why)
    show(byId('control-none'), true)
    show(byId('control-place'), false)
  }

  #offer (commands: readonly CommandChoice[]): void {
    show(byId('control-none'), false)
    show(byId('control-place'), true)
    // What is half filled in stays.
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
      choices: name => name === 'room' ? roomsOf(this.#reports).rooms.map(({ room }) => room) : name === 'session' ? this.#sessions() : []
    })
    this.#args.fill(args)
    const { size, element } = this.#args
    const hint = size === 0 ? 'It takes no arguments.' : isTune ? `${many(size, 'setting')}; those left empty stay as they are.` : ''
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
      this.#tell('bad', filled.problem)
      filled.field?.focus()
      return
    }
    const { args } = filled
    const warning = DANGEROUS[command]
    if (warning !== undefined && !await confirmed(command, args, warning)) return
    await this.#carryOut(command, args)
  }

  async #carryOut (command: string, args: Record<string, unknown>): Promise<void> {
    const began = performance.now()
    this.#waiting = new AbortController()
    this.#busy(true)
    let wait: Wait | null = null
    const tellHow = (): void => this.#tell('none', this.#progress(command, began, wait))
    tellHow()
    const timer = setInterval(tellHow, 1000)
    const onWait = (retryMs: number, code: string): void => {
      wait = { until: performance.now() + retryMs, code }
      tellHow()
    }
    try {
      const { result } = await this.#box.control(command, args, { signal: this.#waiting.signal, onWait })
      const took = ms(Math.round(performance.now() - began))
      const nothing = nothingOf(result)
      const kind = nothing === null ? 'good' : 'none'
      this.#tell(kind, nothing === null ? `${command} was done in ${took}.` : `${command} was run, and ${nothing}.`, result)
      this.#remember({ command, args, at: Date.now(), outcome: nothing ?? `done in ${took}`, kind })
      if (command === 'shutdown') this.#ended()
    } catch (error) {
      const isLeft = this.#waiting.signal.aborted
      this.#tell(isLeft ? 'none' : 'bad', isLeft ? `This page waits for ${command} no longer; once begun, it goes on by itself.` : sentence(command, error as Error, this.#pace()))
      this.#remember({ command, args, at: Date.now(), outcome: isLeft ? 'not waited for' : error instanceof ControlError ? error.code : 'failed', kind: 'bad' })
    } finally {
      clearInterval(timer)
      this.#busy(false)
    }
  }

  /** What a command that has not ended does, or waits for. */
  #progress (command: string, began: number, wait: Wait | null): string {
    const isAway = ['stale', 'connecting'].includes(this.#box.status.state)
    const seconds = Math.ceil(((wait?.until ?? 0) - performance.now()) / 1000)
    if (isAway || (wait?.code === 'UNREACHABLE' && seconds > 0)) return `The gateway is away: ${command} waits until it is back, for a minute at most.`
    if (wait !== null && seconds > 0) {
      return wait.code === 'RATE_LIMITED'
        ? `${this.#pace()} ${command} goes on in ${seconds} s.`
        : `The gateway did not take ${command} (${wait.code}); it is sent again in ${seconds} s.`
    }
    const passed = (performance.now() - began) / 1000
    return passed < 1 ? `${command} is running…` : `${command} has been running for ${duration(passed)}.`
  }

  /** How many commands the gateway takes: the client itself waits where there were too many. */
  #pace (): string {
    const limit = settingsOf(this.#reports).find(({ name }) => name === 'CONTROL_RATE_LIMIT')?.value
    return typeof limit === 'number' && limit > 0 ? `${many(limit, 'command')} a second ${limit === 1 ? 'is' : 'are'} allowed.` : 'There were too many commands.'
  }

  #busy (yes: boolean): void {
    this.#run.disabled = yes
    write(this.#run, 'Run')
    show(byId('stop-waiting'), yes)
  }

  #tell (kind: OutcomeKind, text: string, result?: unknown): void {
    mark(this.#result, { 'data-kind': kind })
    write(byId('result-text'), text)
    const place = byId('result-data')
    show(place, result !== undefined)
    write(place, result === undefined ? '' : changesOf(result) ?? JSON.stringify(result, null, 2))
  }

  #remember (run: Run): void {
    this.#runs.unshift(run)
    this.#runs.splice(MAX_RUNS)
    show(byId('runs-place'), true)
    byId('runs').replaceChildren(...this.#runs.map(({ command, args, at, outcome, kind }) => {
      const again = make('button', { type: 'button', class: 'link', title: 'Fill the form in with this again' }, command)
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

/** What `tune` has changed, a line each. */
function changesOf (result: unknown): string | null {
  const { previous, now } = (result ?? {}) as { previous?: Record<string, unknown>, now?: Record<string, unknown> }
  if (typeof previous !== 'object' || typeof now !== 'object' || previous === null || now === null) return null
  return Object.keys(now).map(name => `${name}: ${String(previous[name])} → ${String(now[name])}`).join('\n')
}

/** A command that found nothing to do was carried out, and has done nothing. */
function nothingOf (result: unknown): string | null {
  const { ended, removed } = (result ?? {}) as { ended?: unknown, removed?: unknown }
  return ended === 0 ? 'nothing was ended' : removed === 0 ? 'nothing was removed' : null
}

function sentence (command: string, error: Error, pace: string): string {
  const message = error.message.replace(/\.$/, '')
  switch (error instanceof ControlError ? error.code : undefined) {
    case 'RATE_LIMITED': return `There were too many commands for a whole minute, so ${command} was not run. ${pace} Try again in a moment.`
    case 'BAD_COMMAND': return `${command} was not run: ${message}.`
    case 'COMMAND_FAILED': return `${command} was run and failed: ${message}.`
    case 'UNREACHABLE': return `The gateway did not answer for a minute; whether ${command} ran is not known.`
    case 'UNKNOWN': return `It is not known what became of ${command}: ${message}.`
    default: return `${command} was refused${error instanceof ControlError ? ` (${error.code})` : ''}: ${message}.`
  }
}

async function answer (path: string): Promise<unknown> {
  const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
  return response.ok ? await response.json() : null
}

/** Asks first. The safe answer has the focus, and Escape gives it. */
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
