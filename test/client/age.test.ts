// How old an event is. It sets this process's clock wrong, and therefore has a file of its own.

import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { connect } from '../../src/client/node.ts'
import { request, Stage, until } from '../process/harness.ts'
import { PROFILES } from '../wire/harness.ts'

const publish = async (url: string, event: object): Promise<void> => { await request(`${url}/api/events`, { json: event }) }

for (const profile of PROFILES) {
  t.test(`the age of an event over ${profile} is by the gateway's clock, however wrong this machine's is`, async test => {
    const stage = new Stage(test)
    const server = await stage.launch({ APP_PROFILE: profile, PORT: 0, DATA_DIR: stage.folder() })
    const published = performance.now()
    await publish(server.url, { type: 'cpu', room: 'a', key: 'host', data: 1, timestamp: 1 })
    await delay(500)
    const { now } = Date
    test.teardown(() => { Date.now = now })
    for (const hours of [-5, 5]) {
      Date.now = () => now() + hours * 3_600_000
      const box = connect(server.url, { rooms: ['a'] })
      test.teardown(() => box.close())
      await until('its value is there', async () => box.state.size === 1)
      const age = box.age(box.state.get('a', 'cpu', 'host') ?? { id: '0-0' })
      test.ok(age >= 490 && age <= performance.now() - published + 2000, `${hours} h: ${age} ms of ${performance.now() - published}`)
      await publish(server.url, { type: 'log', room: 'a', data: hours })
      let youngest = Infinity
      box.on('event', event => { youngest = Math.min(youngest, box.age(event)) })
      await publish(server.url, { type: 'log', room: 'a', data: hours })
      await until('it is there', async () => youngest < Infinity)
      test.ok(youngest >= 0 && youngest < 5000, `${youngest} ms`)
      box.close()
    }
  })
}
