// `npm run test:tools`: gets the servers and clients that the tests run against and that this machine lacks.

import { prepareTools } from './fetch.ts'

const tools = Object.values(await prepareTools(line => console.log(line)))
const missing = tools.flatMap(tool => 'missing' in tool ? [tool.missing] : [])
console.log(missing.length === 0 ? `all ${tools.length} are there` : missing.join('\n'))
process.exitCode = missing.length === 0 ? 0 : 1
