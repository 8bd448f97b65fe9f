// A backend that produces only what somebody watches. It hears from the room @system which rooms are occupied, with the
// embedded store as with Redis.
//
//   node examples/on-demand/producer.mjs http://127.0.0.1:3000
//
// Where tokens are asked for, set SIGNALBOX_TOKEN: subscribe on @system, publish on the rooms.

import { connect } from 'signalbox/client'

const url = process.argv[2] ?? 'http://127.0.0.1:3000'
const token = process.env.SIGNALBOX_TOKEN
const occupied = new Set()

const box = connect(url, { rooms: ['@system'], types: ['occupied'], ...(token ? { token } : {}) })
box.on('reset', () => occupied.clear())
box.on('event', ({ room, key, data }) => {
  if (room !== '@system') return
  if (data === null) return occupied.delete(key)
  occupied.add(key)
  produce([key])
})
setInterval(() => produce([...occupied]), 1000)

async function produce (rooms) {
  for (let at = 0; at < rooms.length; at += 1000) {
    const events = rooms.slice(at, at + 1000).map(room => ({ type: 'clock', room, key: 'now', data: Date.now() / 1000 }))
    await fetch(`${url}/api/events`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(events)
    }).catch(() => {}) // the gateway restarts: the next second counts
  }
}
