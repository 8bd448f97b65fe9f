// The command as it is installed: from a tarball, through a link, in a folder whose path has blanks.

import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Stage, until } from '../process/harness.ts'
import { folderFor } from '../tools/daemon.ts'
import { Command } from './command.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const isWindows = process.platform === 'win32'

/** As `npm install <tarball>` leaves it, with the packages of this checkout as its dependencies. */
async function install (t: Parameters<typeof folderFor>[0]): Promise<string> {
  const site = join(folderFor(t), 'a folder (with blanks) & more')
  const modules = join(site, 'node_modules')
  mkdirSync(join(modules, '.bin'), { recursive: true })
  await promisify(execFile)('npm', ['pack', '--ignore-scripts', '--pack-destination', site], { cwd: ROOT, shell: isWindows })
  const tarball = readdirSync(site).find(name => name.endsWith('.tgz')) as string
  await promisify(execFile)('tar', ['-xzf', tarball], { cwd: site })
  renameSync(join(site, 'package'), join(modules, 'signalbox'))
  const { dependencies, bin } = JSON.parse(readFileSync(join(modules, 'signalbox', 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies)) {
    if (name.includes('/')) mkdirSync(join(modules, name.split('/')[0] as string), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name), 'junction')
  }
  chmodSync(join(modules, 'signalbox', bin.signalbox), 0o755)
  symlinkSync(join('..', 'signalbox', bin.signalbox), join(modules, '.bin', 'signalbox'))
  return site
}

t.test('npx signalbox works where the package is installed from its tarball', { skip: isWindows }, async t => {
  const site = await install(t)
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  t.match(await new Command(t, ['npx', '--no-install', 'signalbox', '--version'], { cwd: site, input: '' }).ended, { code: 0, stdout: `${version}\n` })
  const bin = join(site, 'node_modules', '.bin', 'signalbox')
  t.match(await new Command(t, [bin, 'tail', '--help'], { cwd: site, input: '' }).ended, { code: 0, stdout: /^Usage: signalbox tail/, stderr: '' })
  t.match(await new Command(t, [bin, 'validate', '--help'], { cwd: site, input: '' }).ended, { code: 0, stdout: /^signalbox validate/, stderr: '' })

  const server = new Command(t, [bin], { cwd: site, env: { PORT: '0', DATA_DIR: new Stage(t).folder() } })
  const listening = / on (http:[^\s"]+)/
  await until(`it listens; ${server.stdout}${server.stderr}`, () => listening.test(server.stdout))
  const url = listening.exec(server.stdout)?.[1] as string
  t.match(await new Command(t, [bin, 'publish', '--type', 'cpu', '--key', 'h', '--data', '1', '--url', url], { cwd: site, input: '' }).ended, { code: 0 })
  t.match(await new Command(t, [bin, 'get', '@public', '--url', url], { cwd: site, input: '' }).ended, { code: 0, stdout: / {2}@public {2}cpu {2}h {2}1\n$/ })
  t.match(await server.interrupt(), { code: 0 }, 'the gateway drains')
})
