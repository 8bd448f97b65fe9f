// The examples of docs/protocol.md that make a token, run as they are written.

import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { ask, bearer, guarded } from './harness.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TOKENS = /^### Tokens\n(.*?)^### /ms.exec(readFileSync(`${ROOT}/docs/protocol.md`, 'utf8'))?.[1] ?? ''
const exampleIn = (language: string): string => new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'ms').exec(TOKENS)?.[1] ?? ''
const SECRETS = 'the first secret signs, and it has 32 bytes,the second secret only verifies, 32 bytes too'.split(',')

const EXAMPLES = [
  { language: 'js', command: process.execPath, args: ['--input-type=module', '--eval'], print: 'console.log(token)' },
  { language: 'python', command: 'python3', args: ['-c'], print: 'print(token)' }
]

for (const { language, command, args, print } of EXAMPLES) {
  const skip = spawnSync(command, ['--version']).status === 0 ? false : `${command} is missing`
  t.test(`the token that the example in ${language} makes may do what it grants`, { skip }, async t => {
    const AUTH_JWT_SECRET = `${SECRETS[0]},${SECRETS[1]}`
    const { stdout } = await promisify(execFile)(command, [...args, `${exampleIn(language)}\n${print}`], { cwd: ROOT, env: { ...process.env, AUTH_JWT_SECRET } })
    const { port } = await guarded(t, { profile: 'SSE', authJwtSecret: AUTH_JWT_SECRET })
    const headers = bearer(stdout.trim())
    const publish = async (room: string): Promise<number> => (await ask(port, '/api/events', { headers, body: { type: 'cpu', room, data: 1 } })).status
    t.equal(await publish('plant-1'), 202)
    t.equal(await publish('plant-2'), 403)
    t.equal((await ask(port, '/api/control', { headers, body: { command: 'ping' } })).status, 200)
    t.equal((await ask(port, '/api/events/stream?rooms=plant-2', { headers })).status, 200)
    const other = await guarded(t, { profile: 'SSE', authJwtSecret: SECRETS[1] as string })
    t.equal((await ask(other.port, '/api/rooms', { headers })).status, 401, 'signed by the first secret')
  })
}
