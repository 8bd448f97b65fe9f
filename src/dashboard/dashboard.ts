// The page: connects the client to the panels. A panel draws the client's state on request, and is asked often only while it
// is visible.

import 'uplot/dist/uPlot.min.css'
import './dashboard.css'
import { connect } from '../client/index.ts'
import type { RecentFigures } from '../core/figures/system.ts'
import { ControlPanel } from './control.ts'
import { byId } from './element.ts'
import { FeedPanel } from './feed.ts'
import { here } from './here.ts'
import { MachinePanel } from './machine.ts'
import { fitMenu } from './menu.ts'
import { Missing } from './missing.ts'
import { Overview } from './overview.ts'
import { offerCurl } from './publish.ts'
import { Reports } from './reports.ts'
import { RoomsPanel } from './rooms.ts'
import { Samples } from './samples.ts'
import { Screen } from './screen.ts'
import { SignIn } from './sign-in.ts'
import { SessionsPanel } from './sessions.ts'
import { SettingsPanel } from './settings.ts'
import { Silence } from './silence.ts'
import { StatusLine } from './status.ts'
import { TrafficPanel } from './traffic.ts'
import { TroublesPanel } from './troubles.ts'
import { WorkersPanel } from './workers.ts'

const screen = new Screen()
const ask = (): void => screen.ask()
const signIn = new SignIn()
await signIn.begin()
const missing = new Missing(signIn)
/** Browsers limit the connections to one host, so all tabs of this page share one; where each has a token of its own, none waits for another's. */
const box = connect(here(), { rooms: missing.rooms, share: !signIn.isNeeded, token: signIn.tokens(), pauseHidden: false })
const reports = new Reports(box.state)
const samples = new Samples(box, reports)
const status = new StatusLine(box, new Silence(box, missing.hasFigures, ask), signIn, ask)

/** The lines begin with what the gateway remembers, also where this page was away. */
async function recall (): Promise<void> {
  if (!missing.hasFigures || signIn.isAnonymous || !signIn.may('control', 'recent')) return
  const { result } = await box.control('recent') as { result: { processes: readonly RecentFigures[] } }
  samples.fill(result.processes)
  ask()
}
// Without them the lines begin now.
box.on('status', ({ state }) => { if (state === 'connected') recall().catch(() => {}) })

/** While a snapshot is arriving, the last drawing stays. */
let isWhole = false
const whole = (): void => {
  isWhole = true
  ask()
}
box.on('ready', whole)
box.on('status', ({ state }) => { if (state === 'connected') whole() })
box.on('reset', () => { isWhole = false })
box.state.subscribe(ask)

const overview = new Overview(reports, samples, status)
const control = new ControlPanel(box, reports, signIn, () => status.expectEnd())
const rooms = new RoomsPanel(reports, screen, signIn)
const panels = {
  traffic: new TrafficPanel(reports, samples),
  machine: new MachinePanel(box, reports),
  rooms,
  sessions: new SessionsPanel(box, reports, rooms, !signIn.isNeeded, control),
  workers: new WorkersPanel(reports),
  troubles: new TroublesPanel(reports),
  feed: new FeedPanel(box, reports),
  settings: new SettingsPanel(reports, ask)
}
// The verdict is in the page's title too, which is visible when the page is not.
screen.add(document.body, () => {
  status.draw()
  if (!missing.hasFigures) return
  if (isWhole) overview.draw()
  overview.drawVerdict()
}, true)
for (const [id, panel] of Object.entries(panels)) screen.add(byId(id), () => { if (isWhole) panel.draw() })
fitMenu()
offerCurl(signIn)
