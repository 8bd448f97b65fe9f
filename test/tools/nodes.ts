// `npm run test:nodes`: the fast suites under other versions of Node, each from the registry's package that holds its binary,
// kept in the cache. Every run ends with a line of counts.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { CACHE } from './find.ts'

const SUITES = ['test/packages.test.ts', 'test/core', 'test/wire', 'test/store/embedded.test.ts']
const VERSIONS = ['22', '24', 'latest']

/** The binary of a version or tag, installed if it is not there. @throws Error if it cannot be had */
function nodeOf (version: string): string {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const folder = join(CACHE, `node-${version}`)
  const { status, stderr } = spawnSync('npm', ['install', '--prefix', folder, '--ignore-scripts', '--prefer-offline', `${name}@${version}`], { encoding: 'utf8', shell: process.platform === 'win32' })
  if (status !== 0) throw new Error(`${name}@${version} cannot be installed: ${stderr.trim().split('\n')[0]}`)
  return join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
}

const args = process.argv.slice(2)
const failed = (args.length > 0 ? args : VERSIONS).filter(version => {
  const node = nodeOf(version)
  console.log(`\n${spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim()}: ${SUITES.join(', ')}`)
  return spawnSync(node, ['--import', 'tsx', join('test', 'run.ts'), ...SUITES], { stdio: 'inherit' }).status !== 0
})
process.exitCode = failed.length === 0 ? 0 : 1
