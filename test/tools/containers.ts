// Podman for a test, in a mount and a process namespace of its own: there its packages, extracted or installed, lie over the
// system's, and whatever it starts ends with the test. Images and containers are in a folder that goes with it. There is no base
// image to be had here without a registry: bareImage makes one of this machine's Node and shell.

import { execFile, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Daemon, folderFor, mortal } from './daemon.ts'
import type { Test } from './daemon.ts'
import { childEnv, need } from './find.ts'

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** What npm and the Containerfile call. */
const PROGRAMS = ['sh', 'env', 'mkdir', 'chown', 'uname']

export class Containers {
  readonly #folder: string
  readonly #env: Record<string, string>
  #holder = 0
  #runs = 0

  private constructor (folder: string) {
    this.#folder = folder
    this.#env = { ...childEnv({ bin: '', env: {} }), CONTAINERS_CONF: join(folder, 'containers.conf'), CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf') }
  }

  static async start (t: Test): Promise<Containers> {
    const folder = folderFor(t)
    const containers = new Containers(folder)
    writeFileSync(join(folder, 'storage.conf'), `[storage]\ndriver = "overlay"\nrunroot = "${folder}/run"\ngraphroot = "${folder}/store"\n`)
    // Without systemd and with the limits of this machine, which a container may not raise.
    writeFileSync(join(folder, 'containers.conf'), [
      '[containers]', 'cgroups = "disabled"', 'netns = "host"', 'log_driver = "k8s-file"', 'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]',
      '[engine]', 'cgroup_manager = "cgroupfs"', 'events_logger = "none"', ''
    ].join('\n'))
    const tree = /^(.+)\/usr\/bin\/podman$/.exec(need('podman').bin)?.[1]
    writeFileSync(join(folder, 'hold.sh'), `
      set -e
      ${tree === undefined ? '' : `for part in usr etc; do mount -t overlay overlay -o "lowerdir=${tree}/$part:/$part" /$part; done`}
      # Podman's runtime takes the one hierarchy or the other, not both.
      if [ -d /sys/fs/cgroup/unified ]; then umount -l -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; fi
      echo there
      # As process 1 it also takes leave of processes whose parents are gone.
      while :; do sleep 1; done`)
    const holder = new Daemon({ bin: 'unshare', env: {} }, ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', 'bash', join(folder, 'hold.sh')], folder)
    t.teardown(async () => await holder.stop('SIGKILL'))
    await holder.until('the namespaces are there', () => holder.log.includes('there'))
    containers.#holder = Number(readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, 'utf8').trim())
    return containers
  }

  /** @returns however it ended */
  async try (...args: string[]): Promise<Ran> {
    const command = mortal(['nsenter', '--target', String(this.#holder), '--mount', '--pid', 'podman', '--log-level=error', ...args])
    return await new Promise(resolve => {
      execFile(command.file, command.args, { cwd: this.#folder, env: this.#env, maxBuffer: 1e8 }, (error, stdout, stderr) => {
        // Health checks are asked for here, not by timers of systemd.
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr: stderr.replace(/^.*systemd connection.*\n/gm, '') })
      })
    })
  }

  /** Runs a container to its end. With `--rm` podman waits, every other time, for 20 s for what it has removed. */
  async toEnd (...args: string[]): Promise<Ran> {
    const name = `once-${++this.#runs}`
    const ran = await this.try('run', '--name', name, ...args)
    await this.try('rm', name)
    return ran
  }

  /** @throws Error if it fails */
  async run (...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.try(...args)
    if (code !== 0) throw new Error(`podman ${args[0]}: ${code}\n${stdout}\n${stderr}`)
    return stdout.trim()
  }

  /** An image with Node, npm, a shell and what these need: no more than the official one has. @returns its name */
  async bareImage (): Promise<string> {
    const root = join(this.#folder, 'root')
    const put = (from: string, to = from): void => cpSync(realpathSync(from), join(root, to), { recursive: true })
    const programs = PROGRAMS.map(name => spawnSync('which', [name], { encoding: 'utf8' }).stdout.trim())
    for (const [path, to] of [...programs.map(path => [path, join('/bin', path.slice(path.lastIndexOf('/') + 1))]), [process.execPath, '/usr/local/bin/node']] as Array<[string, string]>) {
      put(path, to)
      for (const [, library] of spawnSync('ldd', [path], { encoding: 'utf8' }).stdout.matchAll(/(\/\S+) \(0x/g)) put(library as string)
    }
    mkdirSync(join(root, 'usr/bin'), { recursive: true })
    symlinkSync('/bin/env', join(root, 'usr/bin/env'))
    put(dirname(dirname(npmCli())), '/usr/local/lib/npm')
    symlinkSync('../lib/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'))
    for (const name of ['tmp', 'root', 'etc']) mkdirSync(join(root, name), { recursive: true })
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/tmp:/bin/sh\n')
    writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnode:x:1000:\n')
    // What npm needs on this machine to reach its registry.
    const authorities = process.env['NODE_EXTRA_CA_CERTS']
    if (authorities !== undefined) put(authorities, '/etc/authorities.pem')
    writeFileSync(join(this.#folder, 'Bare'), [
      'FROM scratch', 'COPY . /', 'ENV PATH=/usr/local/bin:/usr/bin:/bin npm_config_prefer_offline=true',
      ...(authorities === undefined ? [] : ['ENV NODE_EXTRA_CA_CERTS=/etc/authorities.pem']), ''
    ].join('\n'))
    await this.run('build', '--isolation', 'chroot', '--tag', 'localhost/bare', '--file', join(this.#folder, 'Bare'), root)
    return 'localhost/bare'
  }
}

function npmCli (): string {
  const beside = join(dirname(realpathSync(process.execPath)), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js')
  return realpathSync(process.env['npm_execpath'] ?? beside)
}

/** The folder in which npm keeps what it downloaded. */
export const npmCache = (): string => spawnSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).stdout.trim()
