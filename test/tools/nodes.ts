// `npm run test:nodes`: the fast suites under other versions of Node, each from the registry's package that holds its binary,
// kept in the cache. Every run ends with a line of counts. What rests on nothing but the language runs under the newest alone.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { CACHE } from './find.ts'

const BASE = ['test/packages.test.ts', 'test/store/embedded.test.ts']
const SUITES: Readonly<Record<string, readonly string[]>> = {
  22: [...BASE, ...['connections', 'http', 'promises', 'websocket'].map(name => `test/wire/${name}.test.ts`)],
  // The image's.
  24: [...BASE, 'test/wire'],
  latest: [...BASE, 'test/wire', 'test/core']
}

/** The binary of a version or tag, installed if it is not there. @throws Error if it cannot be had */
function nodeOf (version: string): string {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = join(CACHE, `node-${version}`)
  const { status, stderr } = spawnSync('npm', ['install', '--prefix', folder, '--ignore-scripts', '--prefer-offline', `${name}@${version}`], { encoding: 'utf8', shell: process.platform === 'win32' })
  if (status !== 0) throw new Error(`${name}@${version} cannot be installed: ${stderr.trim().split('\n')[0]}`)
  return join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
}

const args = process.argv.slice(2)
const failed = (args.length > 0 ? args : Object.keys(SUITES)).filter(version => {
  const suites = SUITES[version] ?? SUITES.latest as readonly string[]
  const node = nodeOf(version)
  console.log(`\n${spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim()}: ${suites.join(', ')}`)
  return spawnSync(node, ['--import', 'tsx', join('test', 'run.ts'), ...suites], { stdio: 'inherit' }).status !== 0
})
process.exitCode = failed.length === 0 ? 0 : 1
