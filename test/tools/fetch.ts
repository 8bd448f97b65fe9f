// Downloads missing tools on Debian and its relatives and extracts them into the cache. Nothing is installed, no service is
// started, apt's own state is not changed, and root is not needed.

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { isAbsolute, join, relative } from 'node:path'
import { promisify } from 'node:util'
import { mortal } from './daemon.ts'
import { CACHE, canFetch, FIND, findAll, TOOL_NAMES, WORDS } from './find.ts'
import type { ToolName, Tools } from './find.ts'

/** A browser and its libraries are 200 MB. */
const PATIENCE_MS = 300_000

/**
 * All tools; missing ones are downloaded where that is possible.
 * @param say called before a download only
 */
export async function prepareTools (say: (line: string) => void): Promise<Tools> {
  const tools = findAll()
  const named = (name: ToolName): boolean => WORDS[name].variables.some(variable => process.env[variable] !== undefined)
  const wanted = TOOL_NAMES.filter(name => 'missing' in tools[name] && !named(name))
  if (wanted.length === 0 || !canFetch()) return tools
  say(`getting ${wanted.flatMap(name => WORDS[name].debian.split(' ')).join(', ')} (once, into ${CACHE}; nothing is installed)`)
  return findAll(await fetchTools(wanted))
}

/** @returns by tool, why it could not be downloaded */
async function fetchTools (names: readonly ToolName[]): Promise<Map<ToolName, string>> {
  const failures = new Map<ToolName, string>()
  let work: string | null = null
  try {
    sweep()
    work = mkdtempSync(join(CACHE, '.work-'))
    const apt = await Apt.update(work, AbortSignal.timeout(PATIENCE_MS))
    for (const name of names) {
      try {
        settle(name, await apt.extract(WORDS[name].debian.split(' '), join(work, name)), work)
      } catch (error) {
        failures.set(name, (error as Error).message)
      }
    }
  } catch (error) {
    for (const name of names) failures.set(name, (error as Error).message)
  } finally {
    if (work !== null) rmSync(work, { recursive: true, force: true })
  }
  return failures
}

/**
 * Packages and their dependencies, extracted into a folder of the cache, once.
 * @throws Error if they are missing and cannot be downloaded
 */
export async function fetchTree (name: string, packages: readonly string[], say: (line: string) => void): Promise<string> {
  const place = join(CACHE, name)
  if (existsSync(place)) return place
  if (!canFetch()) throw new Error(`${packages.join(', ')} cannot be fetched here`)
  say(`getting ${packages.join(', ')} (once, into ${CACHE}; nothing is installed)`)
  sweep()
  const work = mkdtempSync(join(CACHE, '.work-'))
  try {
    const apt = await Apt.update(work, AbortSignal.timeout(PATIENCE_MS))
    const tree = await apt.extract(packages, join(work, name))
    if (!existsSync(place)) renameSync(tree, place)
    return place
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Removes the leftovers of runs that were killed. */
function sweep (): void {
  mkdirSync(CACHE, { recursive: true })
  for (const name of readdirSync(CACHE).filter(name => name.startsWith('.work-'))) {
    const folder = join(CACHE, name)
    const changed = statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? Infinity
    if (changed < Date.now() - 2 * PATIENCE_MS) rmSync(folder, { recursive: true, force: true })
  }
}

/** Moves a complete tree to its place. Another run may have put one there already and be using it. */
function settle (name: ToolName, tree: string, work: string): void {
  if (FIND[name](tree) === null) throw new Error(`${WORDS[name].debian} was extracted and does not run here`)
  const place = join(CACHE, name)
  if (FIND[name](place) !== null) return
  try { renameSync(place, join(work, `${name}-broken`)) } catch {}
  try {
    renameSync(tree, place)
  } catch (error) {
    if (FIND[name](place) === null) throw error
  }
}

/** Links from one package's files to another's name them from the root of the system: here from where they stand. */
function relink (tree: string): void {
  for (const entry of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) continue
    const link = join(entry.parentPath, entry.name)
    const target = readlinkSync(link)
    if (!isAbsolute(target) || !existsSync(join(tree, target))) continue
    rmSync(link)
    symlinkSync(relative(entry.parentPath, join(tree, target)), link)
  }
}

class Apt {
  readonly #work: string
  readonly #signal: AbortSignal
  /** What the update could not download: explains a package that is missing later. */
  #unfetched: string | undefined

  private constructor (work: string, signal: AbortSignal) {
    this.#work = work
    this.#signal = signal
  }

  /** With separate package lists. */
  static async update (work: string, signal: AbortSignal): Promise<Apt> {
    for (const folder of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(work, folder), { recursive: true })
    // Hooks of the system would touch its caches.
    writeFileSync(join(work, 'apt.conf'), `
      #clear APT::Update::Pre-Invoke;
      #clear APT::Update::Post-Invoke;
      #clear APT::Update::Post-Invoke-Success;
      Dir::State::lists "${work}/lists";
      Dir::Cache "${work}/cache";
      Debug::NoLocking "1";
      APT::Sandbox::User "";
      Acquire::Languages "none";
      Acquire::Retries "1";
      Acquire::http::Timeout "15";
      Acquire::https::Timeout "15";
    `)
    const apt = new Apt(work, signal)
    const { stderr } = await apt.#run(['update'], work)
    apt.#unfetched = /Failed to fetch .*/.exec(stderr)?.[0]
    return apt
  }

  /** Extracts packages and those of their dependencies that the system lacks. @returns the tree */
  async extract (names: readonly string[], tree: string): Promise<string> {
    // A simulation names the packages; those are only downloaded.
    const { stdout } = await this.#run(['-s', '--no-install-recommends', 'install', ...names], this.#work)
    // A C library other than the running loader's would break every process. Scripts of pages (200 MB for Prometheus) are not looked at.
    const packages = [...stdout.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name as string).filter(name => !/^(libc6\b|libjs-|fonts-glyphicons)/.test(name))
    if (packages.length === 0) throw new Error(`apt-get says that all is installed: ${names.join(', ')}`)
    const folder = `${tree}-packages`
    mkdirSync(folder)
    mkdirSync(tree)
    await this.#run(['download', ...packages], folder)
    for (const file of readdirSync(folder)) await this.#command(['dpkg-deb', '-x', join(folder, file), tree], folder)
    relink(tree)
    return tree
  }

  async #run (args: readonly string[], cwd: string): Promise<{ stdout: string, stderr: string }> {
    return await this.#command(['apt-get', '-c', join(this.#work, 'apt.conf'), '-qq', ...args], cwd)
  }

  async #command (command: readonly string[], cwd: string): Promise<{ stdout: string, stderr: string }> {
    const { file, args } = mortal(command)
    try {
      return await promisify(execFile)(file, args, { cwd, env: { ...process.env, LC_ALL: 'C' }, signal: this.#signal, killSignal: 'SIGKILL', maxBuffer: 16_777_216 })
    } catch (error) {
      if (this.#signal.aborted) throw new Error(`apt-get was not done after ${PATIENCE_MS / 1000} s`)
      const said = this.#unfetched ?? /^[EW]: (.*)/m.exec((error as { stderr?: string }).stderr ?? '')?.[1] ?? (error as Error).message
      throw new Error(`${command[0]}: ${said.split('\n')[0]?.replace(/\s+/g, ' ').trim()}`)
    }
  }
}
