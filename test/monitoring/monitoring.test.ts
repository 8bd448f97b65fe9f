// What operators import: alert rules and dashboard fit the metrics that a gateway has, and the guide explains each alert.
// Grafana itself is not here: its dashboard is held against the shape that Grafana exports, and its queries against Prometheus.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { until } from '../process/harness.ts'
import { skipWithout } from '../tools/find.ts'
import { Prometheus, promtool, RULES } from '../tools/prometheus.ts'
import { RedisServer } from '../tools/redis.ts'
import { PROFILES, startServer } from '../wire/harness.ts'
import type { Server, ServerOptions } from '../wire/harness.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const at = (...path: string[]): string => join(ROOT, ...path)
const text = (...path: string[]): string => readFileSync(at(...path), 'utf8')

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: string }
  readonly annotations: Readonly<Record<string, string>>
}

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly gridPos: { readonly x: number, readonly y: number, readonly w: number, readonly h: number }
  readonly datasource?: object
  readonly targets?: ReadonlyArray<{ readonly refId: string, readonly expr: string, readonly datasource: object }>
}

const rules: readonly Rule[] = parse(readFileSync(RULES, 'utf8')).groups.flatMap(({ rules }: { rules: Rule[] }) => rules)
const dashboard = JSON.parse(text('deploy', 'grafana', 'signalbox.json'))
const panels: readonly Panel[] = dashboard.panels
/** As Grafana sends it, with all instances chosen. */
const filled = (expr: string): string => expr.replaceAll('$__rate_interval', '1m').replaceAll('$job', '.*').replaceAll('$instance', '.*')
const queries = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr: filled(expr) })))

const namesIn = (expr: string): string[] => [...expr.matchAll(/\b(?:signalbox|process|nodejs)_\w+/g)].map(([name]) => name)
/** Of one kind of store only. */
const ONLY: Readonly<Record<string, RegExp>> = { embedded: /^signalbox_store_(damaged_total|free_bytes)$/, redis: /^signalbox_intake_/ }

async function embedded (t: Test, options: ServerOptions): Promise<Server> {
  const dataDir = mkdtempSync(join(tmpdir(), 'signalbox-monitoring-'))
  const server = await startServer({ dataDir, ...options })
  t.teardown(async () => {
    await server.close()
    rmSync(dataDir, { recursive: true, force: true })
  })
  return server
}

async function onRedis (t: Test, options: ServerOptions): Promise<Server> {
  const server = await startServer({ redis: (await RedisServer.start(t)).url, ...options })
  t.teardown(async () => await server.close())
  return server
}

const STORES = [
  { store: 'embedded', skip: false, start: embedded },
  { store: 'redis', skip: skipWithout('redis'), start: onRedis }
] as const

for (const { store, skip, start } of STORES) {
  for (const profile of PROFILES) {
    t.test(`${profile} on ${store}: every metric that an alert or the dashboard names is there before anything happens`, { skip }, async t => {
      const { url } = await start(t, { profile })
      const series = new Set((await (await fetch(`${url}/metrics`)).text()).split('\n').filter(line => !line.startsWith('#')).map(line => /^\w*/.exec(line)?.[0]))
      const others = Object.entries(ONLY).filter(([kind]) => kind !== store).map(([, names]) => names)
      const wanted = [...rules.map(({ expr }) => expr), ...queries.map(({ expr }) => expr)].flatMap(namesIn).filter(name => !others.some(names => names.test(name)))
      for (const name of new Set(wanted)) t.ok(series.has(name), name)
    })

    t.test(`${profile} on ${store}: promtool has nothing to say of the gateway's metrics`, { skip: skip || skipWithout('prometheus') }, async t => {
      const { url, publish } = await start(t, { profile })
      await publish({ type: 'a', room: 'r', key: 'k', data: 1 })
      const { said } = await promtool(['check', 'metrics'], await (await fetch(`${url}/metrics`)).text())
      // prom-client's own, whose names the dashboards of others know.
      t.same(said.split('\n').filter(line => line !== '' && !/^nodejs_active_\w+_total non-counter metrics should not have/.test(line)), [])
    })
  }
}

t.test('each alert says how urgent it is, and has its paragraph in the operations guide', t => {
  const guide = text('docs', 'operations.md')
  for (const { alert, labels, annotations } of rules) {
    t.match(alert, /^Signalbox[A-Z]/)
    t.match(labels.severity, /^(page|ticket)$/, alert)
    t.ok(annotations.summary)
    t.equal(annotations.runbook_url, `docs/operations.md#${alert.toLowerCase()}`)
    t.ok(new RegExp(`^#+ ${alert}\n\n[A-Z\`]`, 'm').test(guide), alert)
  }
  t.same([...guide.matchAll(/^#+ (Signalbox[A-Z]\w+)$/gm)].map(([, alert]) => alert).sort(), rules.map(({ alert }) => alert).sort(), 'and the guide explains no others')
  t.end()
})

t.test('each alert has series that make it fire', { skip: skipWithout('prometheus') }, async t => {
  const { code, said } = await promtool(['test', 'rules', join(import.meta.dirname, 'alerts.yml')])
  t.equal(code, 0, said)
  t.same(parse(readFileSync(join(import.meta.dirname, 'alerts.yml'), 'utf8')).tests.map(({ name }: { name: string }) => name).sort(), [...rules.map(({ alert }) => alert), 'nothing'].sort())
})

t.test('promtool takes the configuration with its rules', { skip: skipWithout('prometheus') }, async t => {
  const { code, said } = await promtool(['check', 'config', '--lint-fatal', at('deploy', 'prometheus', 'prometheus.yml')])
  t.equal(code, 0, said)
})

t.test('the dashboard has four rows, and nothing in it overlaps or lacks a title, a sentence or a source', t => {
  t.same([dashboard.title, dashboard.uid, typeof dashboard.schemaVersion], ['Signalbox', 'signalbox', 'number'])
  t.same(panels.filter(({ type }) => type === 'row').map(({ title }) => title), ['Is it well?', 'Delivery', 'Publishing', 'The machine'])
  t.ok(panels.length <= 30, `${panels.length} panels`)
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  const cells = new Set<string>()
  for (const { type, title, description, gridPos: { x, y, w, h }, targets = [], datasource } of panels) {
    t.ok(title !== '' && x + w <= 24)
    for (let row = y; row < y + h; row++) {
      for (let column = x; column < x + w; column++) {
        if (cells.has(`${column},${row}`)) t.fail(`${title} lies over another panel`)
        cells.add(`${column},${row}`)
      }
    }
    if (type === 'row') continue
    t.match(type, /^(stat|timeseries)$/)
    t.ok(description !== undefined && description !== '' && targets.length > 0, title)
    // eslint-disable-next-line no-template-curly-in-string -- Grafana's
    for (const source of [datasource, ...targets.map(({ datasource }) => datasource)]) t.same(source, { type: 'prometheus', uid: '${datasource}' })
    t.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length)
    for (const { expr } of targets) t.match(expr, /job=~"\$job", instance=~"\$instance"/, `${title} shows the chosen instances`)
  }
  t.same(dashboard.templating.list.map(({ name }: { name: string }) => name), ['datasource', 'job', 'instance'])
  t.end()
})

t.test('a real Prometheus scrapes gateways of both stores, understands every query, and no alert fires', { skip: skipWithout('redis', 'prometheus') }, async t => {
  const servers = [await embedded(t, { profile: 'SSE' }), await onRedis(t, { profile: 'WEBSOCKET' })]
  const prometheus = await Prometheus.start(t, servers.map(({ port }) => `127.0.0.1:${port}`))
  for (const { publish } of servers) await publish({ type: 'a', room: 'r', key: 'k', data: 1 })
  await until('both were scraped twice', async () => {
    for (const { publish } of servers) await publish({ type: 'a', room: 'r', key: 'k', data: 2 })
    return (await prometheus.query('count_over_time(signalbox_ready[1m]) > 1 and signalbox_publish_seconds_count > 1')).length === 2
  })
  t.same((await prometheus.query('signalbox_info')).map(({ metric: { profile, store }, value }) => [profile, store, value]).sort(), [['SSE', 'embedded', 1], ['WEBSOCKET', 'redis', 1]])
  for (const { alert, expr } of rules) t.ok(Array.isArray(await prometheus.query(expr)), alert)
  // Of rare things there is nothing to see yet; nobody listens, so nothing was delivered; no client is limited.
  const empty = new Set(['Refusals by code', 'Bounds met, by reason'])
  for (const { title, expr } of queries) {
    const found = await prometheus.query(expr)
    if (!empty.has(title) && !/sessions_limit/.test(expr)) t.ok(found.length > 0, `${title}: ${expr}`)
  }
  t.same((await prometheus.query('ALERTS{alertstate="firing", severity="page"}')).map(({ metric }) => metric.alertname), [])
})
