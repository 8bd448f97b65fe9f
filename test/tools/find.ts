// The real servers that tests run against, found and never installed: what an environment variable names, what is on
// PATH, what `npm run test:tools` has extracted into the cache (fetch.ts). A tool that is found has been seen to run.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

export interface Tool {
  readonly bin: string
  /** Environment that its process needs besides `childEnv`'s. */
  readonly env: Readonly<Record<string, string>>
}

export interface Missing {
  /** One sentence: what is missing, which tests are left out, what helps. */
  readonly missing: string
}

export interface Tools {
  /** Sentinel is this server with `--sentinel`. */
  readonly redis: Tool & { readonly cli: Tool } | Missing
  readonly nginx: Tool | Missing
  /** A python3 that can import `redis`. */
  readonly python: Tool | Missing
  readonly openssl: Tool | Missing
  readonly chromium: Tool | Missing
  readonly firefox: Tool | Missing
  readonly haproxy: Tool | Missing
  readonly apache: Tool | Missing
  readonly caddy: Tool | Missing
  /** With HTTP/2. */
  readonly curl: Tool | Missing
  readonly wget: Tool | Missing
  /** A python3 that can import `aiohttp` and `websockets`. */
  readonly asyncio: Tool | Missing
  /** A python3 that can import `requests`. */
  readonly requests: Tool | Missing
  /** With a compiler: `java Program.java`. */
  readonly java: Tool | Missing
  /** With the rights to use it: containers.ts starts it in namespaces of its own. */
  readonly podman: Tool | Missing
  readonly prometheus: Tool & { readonly promtool: Tool } | Missing
}

export type ToolName = keyof Tools

interface Words {
  readonly what: string
  readonly tests: string
  /** Packages, with blanks between them. */
  readonly debian: string
  readonly brew: string
  readonly variables: readonly string[]
}

export const WORDS: Record<ToolName, Words> = {
  redis: { what: 'redis-server', tests: 'the tests with a real Redis', debian: 'redis-server', brew: 'brew install redis', variables: ['REDIS_SERVER_BIN', 'REDIS_CLI_BIN'] },
  nginx: { what: 'nginx', tests: 'the tests behind a real nginx', debian: 'nginx', brew: 'brew install nginx', variables: ['NGINX_BIN'] },
  python: { what: 'python3 with its module redis', tests: 'the tests with a Python publisher', debian: 'python3-redis', brew: 'python3 -m pip install redis', variables: ['PYTHON_REDIS_BIN'] },
  openssl: { what: 'openssl', tests: 'the tests with TLS', debian: 'openssl', brew: 'brew install openssl', variables: ['OPENSSL_BIN'] },
  chromium: { what: 'chromium', tests: 'the tests in a real browser', debian: 'chromium', brew: 'brew install --cask chromium', variables: ['CHROMIUM_BIN'] },
  firefox: { what: 'firefox', tests: 'the tests in a real Firefox', debian: 'firefox-esr', brew: 'brew install --cask firefox', variables: ['FIREFOX_BIN'] },
  haproxy: { what: 'haproxy', tests: 'the tests behind a real HAProxy', debian: 'haproxy', brew: 'brew install haproxy', variables: ['HAPROXY_BIN'] },
  apache: { what: 'apache2', tests: 'the tests behind a real Apache', debian: 'apache2-bin', brew: 'brew install httpd', variables: ['APACHE_BIN'] },
  caddy: { what: 'caddy', tests: 'the tests behind a real Caddy', debian: 'caddy', brew: 'brew install caddy', variables: ['CADDY_BIN'] },
  curl: { what: 'curl with HTTP/2', tests: 'the tests with curl', debian: 'curl', brew: 'brew install curl', variables: ['CURL_BIN'] },
  wget: { what: 'wget', tests: 'the tests with wget', debian: 'wget', brew: 'brew install wget', variables: ['WGET_BIN'] },
  asyncio: { what: 'python3 with its modules aiohttp and websockets', tests: 'the tests with viewers in Python', debian: 'python3-aiohttp python3-websockets', brew: 'python3 -m pip install aiohttp websockets', variables: ['PYTHON_ASYNCIO_BIN'] },
  requests: { what: 'python3 with its module requests', tests: 'the tests with a reader in Python', debian: 'python3-requests', brew: 'python3 -m pip install requests', variables: ['PYTHON_REQUESTS_BIN'] },
  java: { what: 'a JDK', tests: 'the tests with a publisher in Java', debian: 'openjdk-17-jdk-headless', brew: 'brew install openjdk', variables: ['JAVA_BIN'] },
  podman: { what: 'podman, on Linux and as root,', tests: 'the tests in a container', debian: 'podman crun conmon', brew: 'a Linux machine', variables: ['PODMAN_BIN'] },
  prometheus: { what: 'prometheus with promtool', tests: 'the tests with a real Prometheus', debian: 'prometheus', brew: 'brew install prometheus', variables: ['PROMETHEUS_BIN', 'PROMTOOL_BIN'] }
}

export const TOOL_NAMES = Object.keys(WORDS) as readonly ToolName[]

const ROOT = join(import.meta.dirname, '..', '..')

/** Of this system: what is extracted for one need not run on another that shares the folder, as a container does. */
export const CACHE = join(process.env.SIGNALBOX_TOOLS_CACHE ?? join(ROOT, 'node_modules', '.cache', 'signalbox-tools'), systemName())

function systemName (): string {
  let release = ''
  try { release = readFileSync('/etc/os-release', 'utf8') } catch {}
  const field = (name: string): string => new RegExp(`^${name}="?([\\w.-]+)`, 'm').exec(release)?.[1] ?? 'unknown'
  return [release === '' ? process.platform : `${field('ID')}-${field('VERSION_ID')}`, process.arch].join('-')
}

/** An environment for a tool's process: nothing of this process's own but what the system needs. */
export function childEnv (tool: Tool, more: Record<string, string> = {}): Record<string, string> {
  const { PATH, HOME, TMPDIR, LD_LIBRARY_PATH, PYTHONPATH } = process.env
  const given = Object.entries({ PATH, HOME, TMPDIR, LD_LIBRARY_PATH, PYTHONPATH }).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return { ...Object.fromEntries(given), ...tool.env, ...more }
}

function isFile (path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}

export const onPath = (name: string): boolean => pathFolders().some(folder => isFile(join(folder, name)))

const pathFolders = (): string[] => (process.env.PATH ?? '').split(delimiter).filter(folder => folder !== '')

/** The tool there; one of an extracted tree brings the tree's libraries. */
function toolAt (bin: string): Tool {
  const tree = /^(.+)\/usr\/(?:s?bin|lib\/[^/]+)\/[^/]+$/.exec(bin)?.[1]
  if (tree === undefined) return { bin, env: {} }
  const libraries = ['usr/lib', 'lib'].map(folder => join(tree, folder)).filter(folder => existsSync(folder))
    .flatMap(folder => readdirSync(folder).filter(name => name.includes('-linux-')).map(name => join(folder, name)))
    // The sound library is the only one with parts in a separate folder.
    .flatMap(folder => [folder, join(folder, 'pulseaudio')]).filter(folder => existsSync(folder))
  return { bin, env: libraries.length === 0 ? {} : { LD_LIBRARY_PATH: libraries.join(delimiter) } }
}

function runs (tool: Tool, args: readonly string[]): boolean {
  // In an empty folder: python looks for modules in its working directory.
  return spawnSync(tool.bin, args, { env: childEnv(tool), cwd: tmpdir(), stdio: 'ignore', timeout: 10_000 }).status === 0
}

function pick (variable: string, names: readonly string[], args: readonly string[], folders: readonly string[]): Tool | null {
  const named = process.env[variable]
  const bins = named !== undefined ? [named] : folders.flatMap(folder => names.map(name => join(folder, name))).filter(isFile)
  return bins.map(toolAt).find(tool => runs(tool, args)) ?? null
}

const foldersWith = (tree: string): string[] => [...pathFolders(), '/usr/sbin', '/usr/local/sbin', join(tree, 'usr/bin'), join(tree, 'usr/sbin')]

/** A python3 that runs a script; one that does so only with the modules of the tree gets those. */
function pickPython (variable: string, script: string, tree: string): Tool | null {
  const args = ['-c', script]
  const own = pick(variable, ['python3'], args, [...pathFolders(), '/usr/bin'])
  if (own !== null || process.env[variable] !== undefined) return own
  // The system's own python first: what the modules need may be installed for that one alone.
  const bins = ['/usr/bin', join(tree, 'usr/bin'), ...pathFolders()].map(folder => join(folder, 'python3')).filter(isFile)
  return bins.map(toolAt).map(({ bin, env }) => ({ bin, env: { ...env, PYTHONPATH: join(tree, 'usr/lib/python3/dist-packages') } })).find(tool => runs(tool, args)) ?? null
}

const MAC_BROWSERS = ['Chromium', 'Google Chrome'].map(name => `/Applications/${name}.app/Contents/MacOS`)

/** By tool, a search that ends in a tree of extracted packages. */
export const FIND: { readonly [Name in ToolName]: (tree: string) => Exclude<Tools[Name], Missing> | null } = {
  redis: tree => {
    const server = pick('REDIS_SERVER_BIN', ['redis-server', 'valkey-server'], ['--version'], foldersWith(tree))
    const cli = server === null ? null : pick('REDIS_CLI_BIN', ['redis-cli', 'valkey-cli'], ['--version'], [dirname(server.bin), ...foldersWith(tree)])
    return server === null || cli === null ? null : { ...server, cli }
  },
  nginx: tree => pick('NGINX_BIN', ['nginx'], ['-v'], foldersWith(tree)),
  python: tree => pickPython('PYTHON_REDIS_BIN', 'import redis; redis.Redis', tree),
  openssl: tree => pick('OPENSSL_BIN', ['openssl'], ['version'], foldersWith(tree)),
  chromium: tree => {
    // Debian's `usr/bin/chromium` is a script that looks for the browser under `/usr/lib`, extracted or not.
    const folders = [...pathFolders(), '/usr/bin', ...MAC_BROWSERS, join(tree, 'usr/lib/chromium')]
    const tool = pick('CHROMIUM_BIN', ['chromium', 'chromium-browser', 'google-chrome', 'Chromium', 'Google Chrome'], ['--version'], folders)
    if (tool === null || !tool.bin.startsWith(tree)) return tool
    // The tree's fonts, for a system that has none.
    return { ...tool, env: { ...tool.env, FONTCONFIG_PATH: join(tree, 'etc/fonts'), XDG_DATA_HOME: join(tree, 'usr/share') } }
  },
  firefox: tree => {
    // Debian's `usr/bin/firefox-esr` is a script, too.
    const folders = [...pathFolders(), '/usr/bin', '/Applications/Firefox.app/Contents/MacOS', join(tree, 'usr/lib/firefox-esr')]
    return pick('FIREFOX_BIN', ['firefox', 'firefox-esr'], ['--version'], folders)
  },
  haproxy: tree => pick('HAPROXY_BIN', ['haproxy'], ['-v'], foldersWith(tree)),
  apache: tree => pick('APACHE_BIN', ['apache2', 'httpd'], ['-v'], foldersWith(tree)),
  caddy: tree => pick('CADDY_BIN', ['caddy'], ['version'], foldersWith(tree)),
  // Without HTTP/2 it does not know the option.
  curl: tree => pick('CURL_BIN', ['curl'], ['--http2', '--version'], foldersWith(tree)),
  wget: tree => pick('WGET_BIN', ['wget'], ['--version'], foldersWith(tree)),
  asyncio: tree => pickPython('PYTHON_ASYNCIO_BIN', 'import aiohttp, websockets; websockets.connect', tree),
  requests: tree => pickPython('PYTHON_REQUESTS_BIN', 'import requests; requests.Session', tree),
  java: tree => pick('JAVA_BIN', ['java'], ['--describe-module', 'jdk.compiler'], [...pathFolders(), join(tree, 'usr/lib/jvm/java-17-openjdk-amd64/bin'), join(tree, 'usr/lib/jvm/java-17-openjdk-arm64/bin')]),
  podman: tree => {
    const isAllowed = process.getuid?.() === 0 && runs({ bin: 'unshare', env: {} }, ['--mount', '--pid', '--fork', 'true'])
    return isAllowed ? pick('PODMAN_BIN', ['podman'], ['--version'], foldersWith(tree)) : null
  },
  prometheus: tree => {
    const server = pick('PROMETHEUS_BIN', ['prometheus'], ['--version'], foldersWith(tree))
    const promtool = server === null ? null : pick('PROMTOOL_BIN', ['promtool'], ['--version'], [dirname(server.bin), ...foldersWith(tree)])
    return server === null || promtool === null ? null : { ...server, promtool }
  }
}

/** @param why why it could not be fetched either */
function sentence (name: ToolName, why: string | undefined): string {
  const { what, tests, debian, brew, variables } = WORDS[name]
  const named = variables.find(variable => process.env[variable] !== undefined)
  const leftOut = `${tests} are left out`
  if (named !== undefined) return `${what} is missing (${named}=${process.env[named]} does not run): ${leftOut}; without ${named} it is looked for.`
  const install = onPath('apt-get') ? `${process.getuid?.() === 0 ? '' : 'sudo '}apt-get install ${debian}` : brew
  if (process.env.SIGNALBOX_NO_SETUP === '1') return `${what} is missing (SIGNALBOX_NO_SETUP=1): ${leftOut}; to get it: ${install}`
  if (why === undefined && canFetch()) return `${what} is missing: ${leftOut}; to get it: npm run test:tools`
  return `${what} is missing${why === undefined ? '' : ` (${why})`}: ${leftOut}; to get it: ${install}`
}

/** Whether Debian packages can be extracted here. */
export const canFetch = (): boolean => process.env.SIGNALBOX_NO_SETUP !== '1' && onPath('apt-get') && onPath('dpkg-deb')

/** @param why by tool, why it could not be fetched */
export function findAll (why: ReadonlyMap<ToolName, string> = new Map()): Tools {
  return Object.fromEntries(TOOL_NAMES.map(name => [name, FIND[name](join(CACHE, name)) ?? { missing: sentence(name, why.get(name)) }])) as unknown as Tools
}

const known: Partial<Record<ToolName, Tool | Missing>> = process.env.SIGNALBOX_TOOLS === undefined ? {} : JSON.parse(process.env.SIGNALBOX_TOOLS)

/** Downloads nothing. Under `npm test` it is what the runner has found. */
export function find<Name extends ToolName> (name: Name): Tools[Name] {
  return (known[name] ??= FIND[name](join(CACHE, name)) ?? { missing: sentence(name, undefined) }) as Tools[Name]
}

/** @throws Error with the sentence where it is missing */
export function need<Name extends ToolName> (name: Name): Exclude<Tools[Name], Missing> {
  const tool = find(name)
  if ('missing' in tool) throw new Error(tool.missing)
  return tool as Exclude<Tools[Name], Missing>
}

/** For tap's `skip`: the sentences of those that are missing, false where none is. */
export function skipWithout (...names: ToolName[]): string | false {
  const sentences = names.map(find).flatMap(tool => 'missing' in tool ? [tool.missing] : [])
  return sentences.length === 0 ? false : sentences.join(' ')
}
