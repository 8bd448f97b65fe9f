// Preloaded into servers: a signal makes them collect their garbage, so that what is left is what they need.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
process.on('SIGWINCH', () => collect())
