// The health check of the image: 0 if the gateway of this container answers HEAD /healthz within 4 s, else 1. It takes no tools
// that a small image lacks. HOST and PORT are the container's own.

import { request } from 'node:http'

const { HOST = '127.0.0.1', PORT = '3000' } = process.env
const everyAddress = { '0.0.0.0': '127.0.0.1', '::': '::1' }
request({ host: everyAddress[HOST] ?? HOST, port: PORT, path: '/healthz', method: 'HEAD', timeout: 4000 })
  .on('response', ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1))
  .on('timeout', () => process.exit(1))
  .on('error', ({ message }) => {
    console.error(message)
    process.exit(1)
  })
  .end()
