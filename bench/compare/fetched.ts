// Peers that are not Node's: nchan and Flask-SocketIO, where the system has them or its packages can be extracted.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fetchTree } from '../../test/tools/fetch.ts'
import { freePort } from '../../test/process/harness.ts'
import { ROOM } from './contenders.ts'
import type { Absent, Contender } from './contenders.ts'

const FLASK = fileURLToPath(new URL('../peers/flask-socketio.py', import.meta.url))

type Say = (line: string) => void

/** nginx with its module, one worker; the configuration of nchan's README. */
export async function nchan (say: Say): Promise<Array<Contender | Absent>> {
  try {
    const tree = existsSync('/usr/lib/nginx/modules/ngx_nchan_module.so') ? '/' : await fetchTree('nchan', ['libnginx-mod-nchan'], say)
    const bin = join(tree, 'usr/sbin/nginx')
    const env = libraries(tree)
    if (spawnSync(bin, ['-v'], { env: { ...process.env, ...env } }).status !== 0) throw new Error(`${bin} does not run`)
    const port = await freePort()
    const command = {
      // Extracted, not installed: the module makes folders in /var/lib/nginx regardless of its settings, and is therefore given another /var/lib.
      command: [...(tree === '/' ? [] : ['unshare', '-rm', 'sh', '-c', 'mount -t tmpfs none /var/lib && mkdir /var/lib/nginx && exec "$@"', 'sh']), bin, '-p', '.', '-c', 'nginx.conf', '-e', 'stderr'],
      env,
      port,
      prepare: (folder: string) => {
        mkdirSync(join(folder, 'temp'))
        writeFileSync(join(folder, 'nginx.conf'), `
load_module ${join(tree, 'usr/lib/nginx/modules/ngx_nchan_module.so')};
daemon off;
pid nginx.pid;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1;
events { worker_connections 16384; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path temp/${name};`).join(' ')}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    keepalive_requests 1000000;
    location = /sub { nchan_subscriber; nchan_channel_id ${ROOM}; }
    location = /publish { nchan_publisher; nchan_channel_id ${ROOM}; }
  }
}
`)
      }
    }
    const profile = (name: string, webSocket: boolean, ready: string): Contender => ({
      name, command: () => command, opening: { path: '/sub', webSocket, ready }, publishPath: '/publish'
    })
    return [profile('nchan SSE', false, '200 OK'), profile('nchan WebSocket', true, '101')]
  } catch (error) {
    return [{ name: 'nchan', why: `not installed (${(error as Error).message})` }]
  }
}

/** The earlier design. */
export async function flaskSocketIo (say: Say): Promise<Contender | Absent> {
  const name = 'Flask-SocketIO'
  try {
    const tree = runs({}) ? '/' : await fetchTree('flask-socketio', ['python3-flask-socketio', 'python3-gevent', 'python3-gevent-websocket'], say)
    const env = tree === '/' ? {} : { ...libraries(tree), PYTHONPATH: join(tree, 'usr/lib/python3/dist-packages') }
    if (!runs(env)) throw new Error('its packages do not run with /usr/bin/python3')
    return {
      name,
      command: () => ({ command: ['/usr/bin/python3', FLASK], env }),
      opening: { path: '/socket.io/?EIO=4&transport=websocket', webSocket: true, ask: '40', ready: '40{' },
      publishPath: '/publish'
    }
  } catch (error) {
    return { name, why: `not installed (${(error as Error).message})` }
  }
}

const runs = (env: Record<string, string>): boolean =>
  spawnSync('/usr/bin/python3', ['-c', 'import flask_socketio, geventwebsocket; import gevent; gevent.sleep(0)'], { env: { PATH: process.env.PATH, ...env }, cwd: '/', stdio: 'ignore' }).status === 0

function libraries (tree: string): Record<string, string> {
  if (tree === '/') return {}
  const folder = join(tree, 'usr/lib')
  const found = readdirSync(folder).filter(name => name.includes('-linux-')).map(name => join(folder, name))
  return found.length === 0 ? {} : { LD_LIBRARY_PATH: found.join(':') }
}
