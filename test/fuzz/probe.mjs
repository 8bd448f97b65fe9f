// Loaded into the gateway under test: what only the process itself can tell, as a line of its output at each SIGWINCH.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

process.on('SIGWINCH', () => {
  collect()
  console.log(JSON.stringify({ level: 10, msg: 'probe', heap: process.memoryUsage().heapUsed, polluted: ({}).polluted !== undefined || Object.keys(Object.prototype).length > 0 }))
})
