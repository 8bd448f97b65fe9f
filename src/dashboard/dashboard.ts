// @ts-nocheck
// The page: what the client knows is drawn at most once a frame. An element with
// `data-figure="room type key field"` shows that field; tables have a row for each key. The gateway reports under a key
// for each of its processes: with the key `*` the greatest of their figures is shown, or with `data-sum` their sum.

import 'uplot/dist/uPlot.min.css'
import './dashboard.css'
import { connect } from '../client/index.ts'

const PUBLIC = '@public'
const SYSTEM = '@system'
/** Types and keys of the demo feed, which have their own places. The feed is public, so others may publish to it anything. */
const MACHINE = new Map(Object.entries({
  cpu: /^(total|core-\d+)$/,
  memory: /^total$/,
  load: /^average$/,
  disk: /^data$/,
  'disk-traffic': /^/,
  network: /^/,
  process: /^gateway$/,
  host: /^this$/
}))
const MAX_NOTICES = 20
const MAX_FACTS = 50
const MAX_TEXT = 500
const MAX_ROWS = 256
/** Figures come twice a second; where none has come for so long the page says so. */
const STALE_MS = 10_000

/** Not every system tells every figure, and not every publisher numbers. */
const figure = format => value => Number.isFinite(value) ? format(value) : '–'
const count = figure(value => value.toLocaleString('en', { maximumFractionDigits: 1 }))
const bytes = figure(value => {
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, value)) / 10))
  return `${count(value / 1024 ** power)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`
})
const rate = figure(value => `${bytes(value)}/s`)
const duration = figure(seconds => {
  const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor)
  if (days > 0) return `${days} d ${hours} h`
  if (hours > 0) return `${hours} h ${minutes} min`
  return minutes > 0 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(seconds)} s`
})
/** What `data-as` may name. */
const FORMATS = { count, bytes, duration, percent: figure(value => `${count(value)} %`), ms: figure(value => `${count(value)} ms`) }

const byId = id => document.getElementById(id)
const bound = [...document.querySelectorAll('[data-figure]')].map(element => {
  const [room, type, key, field] = element.dataset.figure.split(' ')
  return { element, room, type, key, path: field.split('.'), format: FORMATS[element.dataset.as] ?? String, isSum: 'sum' in element.dataset }
})
const box = connect('/', { rooms: [PUBLIC, SYSTEM] })
const notices = []
/** The last fact of each other type. */
const facts = new Map()
let isReady = false
let isDue = false
/** When a figure last came, by this page's clock: the gateway's may go differently. */
let heardAt = 0

box.on('event', event => {
  if (event.key === undefined) keepFact(event)
  if (isMachine(event)) heardAt = performance.now()
  draw()
})
box.on('reset', () => {
  isReady = false
  draw()
})
box.on('ready', () => {
  isReady = true
  draw()
})
box.on('hello', ({ profile }) => { byId('profile').textContent = profile })
box.on('status', status => {
  byId('status').dataset.status = status.state
  byId('status').textContent = sentence(status)
})
setInterval(draw, 1000)
offerCurl()

function isMachine ({ room, type, key }) {
  return room === undefined && key !== undefined && MACHINE.get(type)?.test(key) === true
}

function keepFact (event) {
  if (event.type === 'notice' && typeof event.data?.text === 'string') {
    notices.unshift(event)
    notices.splice(MAX_NOTICES)
    return
  }
  facts.delete(event.type)
  facts.set(event.type, event)
  if (facts.size > MAX_FACTS) facts.delete(facts.keys().next().value)
}

function draw () {
  if (isDue) return
  isDue = true
  window.requestAnimationFrame(() => {
    isDue = false
    drawAll()
  })
}

function drawAll () {
  const values = [...box.state.entries()].filter(({ room }) => room === undefined)
  const machine = values.filter(isMachine)
  drawBound()
  drawMachine(machine)
  drawSaved()
  drawNotices()
  drawOthers(values.filter(event => !isMachine(event)))
  show('nothing', isReady && machine.length === 0)
}

function drawBound () {
  const reports = gatewayReports()
  for (const { element, room, type, key, path, format, isSum } of bound) {
    const find = event => path.reduce((data, name) => data?.[name], event?.data)
    const value = key === '*' ? combine(reports.map(find), isSum) : find(box.state.get(room, type, key))
    if (element.localName === 'meter') element.value = Number.isFinite(value) ? value : 0
    else write(element, value === undefined ? '–' : format(value))
  }
}

function gatewayReports () {
  return [...box.state.entries()].filter(({ room, type }) => room === SYSTEM && type === 'gateway')
}

/** Of no figures there is none. */
function combine (figures, isSum) {
  if (figures.length === 0) return undefined
  return isSum ? figures.reduce((sum, figure) => sum + figure, 0) : Math.max(...figures)
}

function drawMachine (events) {
  show('figures', events.length > 0)
  show('host', events.some(({ type }) => type === 'host'))
  for (const card of document.querySelectorAll('[data-type]')) card.hidden = !events.some(({ type }) => type === card.dataset.type)
  const of = type => events.filter(event => event.type === type).sort((a, b) => a.key.localeCompare(b.key, undefined, { numeric: true }))
  drawRows('cores', of('cpu'), ({ key, data }) => [key.replace('-', ' '), meter(data.percent, key), count(data.percent)])
  drawRows('disks', of('disk-traffic'), ({ key, data }) => [key, rate(data.readPerSecond), rate(data.writtenPerSecond)])
  drawRows('interfaces', of('network'), ({ key, data }) => [key, rate(data.receivedPerSecond), rate(data.sentPerSecond)])
  const newest = Math.max(...events.map(({ timestamp }) => timestamp))
  // What a snapshot brings may be of a feed that no longer runs: the gateway's own report says what time it is there.
  const age = Math.max(newest, ...gatewayReports().map(({ timestamp }) => timestamp)) - newest
  const isStale = events.length > 0 && (age > STALE_MS || performance.now() - heardAt > STALE_MS)
  show('stale', isStale)
  if (isStale) write(byId('stale'), `Nothing new since ${new Date(newest).toLocaleString()}: these are the last values.`)
}

function drawSaved () {
  const counters = gatewayReports().map(({ data }) => data.counters)
  if (counters.length === 0) {
    write(byId('saved'), '–')
    return
  }
  const owed = combine(counters.map(({ owed }) => owed), true)
  // Snapshots are bundles too, but nothing would be owed for them without bundling.
  const saved = Math.max(0, owed - combine(counters.map(({ bundles }) => bundles), true))
  write(byId('saved'), saved === 0 ? '0' : `${count(saved)} (${Math.floor(saved / owed * 100)} %)`)
}

function drawNotices () {
  show('quiet', notices.length === 0)
  const list = byId('notice-list')
  if (list.firstChild?.dataset.id === notices[0]?.id) return
  list.replaceChildren(...notices.map(({ id, timestamp, data }) => {
    const item = document.createElement('li')
    item.dataset.id = id
    const time = document.createElement('time')
    time.dateTime = new Date(timestamp).toISOString()
    time.textContent = new Date(timestamp).toLocaleTimeString()
    item.append(time, shorten(data.text))
    return item
  }))
}

function drawOthers (values) {
  const events = [...values, ...facts.values()].sort((a, b) => a.type < b.type ? -1 : Number(a.type > b.type))
  show('others', events.length > 0)
  show('none', events.length === 0)
  drawRows('other-rows', events, ({ type, key, data }) => [type, key ?? '(last fact)', shorten(JSON.stringify(data))])
  show('more', events.length > MAX_ROWS)
  write(byId('more'), `and ${count(events.length - MAX_ROWS)} more`)
}

/** A row for each event, up to a limit; cells that are the same stay as they are, so that a selection survives. */
function drawRows (id, all, cellsOf) {
  const events = all.slice(0, MAX_ROWS)
  const body = byId(id)
  while (body.rows.length > events.length) body.deleteRow(-1)
  events.forEach((event, index) => {
    const row = body.rows[index] ?? body.insertRow()
    cellsOf(event).forEach((content, column) => {
      const cell = row.cells[column] ?? row.appendChild(newCell(body, column))
      if (typeof content === 'string') write(cell, content)
      else content(cell)
    })
  })
}

/** The first cell names the row; numbers stand under the head that says so. */
function newCell (body, column) {
  const cell = document.createElement(column === 0 ? 'th' : 'td')
  if (column === 0) cell.scope = 'row'
  cell.className = body.parentElement.tHead.rows[0].cells[column].className
  return cell
}

function meter (value, name) {
  return cell => {
    const meter = cell.firstChild ?? cell.appendChild(Object.assign(document.createElement('meter'), { min: 0, max: 100, low: 75, high: 90, optimum: 0 }))
    meter.ariaLabel = `${name} busy, percent`
    meter.value = Number.isFinite(value) ? value : 0
  }
}

const shorten = text => text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text

function write (element, text) {
  if (element.textContent !== text) element.textContent = text
}

function show (id, yes) {
  byId(id).hidden = !yes
}

function sentence ({ state, reason, retryMs }) {
  switch (state) {
    case 'connected': return 'Live'
    case 'connecting': return 'Connecting…'
    case 'catching-up': return 'Catching up…'
    case 'stale': return `Not connected: ${reason}. ${retryMs === null ? 'Trying now' : `Trying again in ${Math.ceil(retryMs / 1000)} s`}; what you see are the last values.`
    case 'refused': return `The gateway refused: ${reason}`
    default: return 'Closed'
  }
}

function offerCurl () {
  const event = { type: 'greeting', key: 'me', data: 'Hello' }
  const line = `curl -X POST ${window.location.origin}/api/events -H 'Content-Type: application/json' -d '${JSON.stringify(event)}'`
  const button = byId('copy')
  byId('curl').textContent = line
  button.addEventListener('click', async () => {
    try {
      // Not there on pages that came over plain HTTP from another host.
      await navigator.clipboard.writeText(line)
      button.textContent = 'Copied'
    } catch {
      window.getSelection().selectAllChildren(byId('curl'))
      button.textContent = 'Selected: copy it with the keyboard'
    }
    setTimeout(() => { button.textContent = 'Copy' }, 3000)
  })
}
