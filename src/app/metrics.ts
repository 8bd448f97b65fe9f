// GET /metrics for Prometheus: the process's own figures and the gateway's. The core counts in plain numbers;
// they are read when somebody asks, so counting costs nothing else.

import type { FastifyInstance } from 'fastify'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Gateway } from '../core/gateway.ts'

export default async function metrics (app: FastifyInstance, { gateway, profile }: { gateway: Gateway, profile: string }): Promise<void> {
  const registry = new Registry()
  registry.setDefaultLabels({ profile })
  collectDefaultMetrics({ register: registry })
  const { counters } = gateway

  const counter = (name: string, help: string, value: () => number): void => {
    // eslint-disable-next-line no-new
    new Counter({ name, help, registers: [registry], collect () { this.reset(); this.inc(value()) } })
  }
  const gauge = (name: string, help: string, value: () => number): void => {
    // eslint-disable-next-line no-new
    new Gauge({ name, help, registers: [registry], collect () { this.set(value()) } })
  }

  counter('signalbox_events_total', 'Events taken in from the log', () => counters.events)
  counter('signalbox_uncoalesced_messages_total', 'Messages there would have been without bundling: one an event and connection', () => counters.owed)
  counter('signalbox_delivered_events_total', 'Events handed to connections', () => counters.delivered)
  counter('signalbox_bundles_total', 'Bundles handed to connections', () => counters.bundles)
  counter('signalbox_sent_bytes_total', 'Bytes of bundles handed to connections', () => counters.bytes)
  counter('signalbox_sessions_opened_total', 'Sessions ever opened', () => counters.opened)
  counter('signalbox_slow_sessions_ended_total', 'Sessions ended because their connection did not drain (SLOW_CLIENT_TIMEOUT)', () => counters.slow)
  const resets = new Counter({
    name: 'signalbox_resets_total',
    help: 'Clients told that their position could not be gone on from',
    labelNames: ['reason'],
    registers: [registry],
    collect () {
      this.reset()
      for (const [reason, count] of Object.entries(counters.resets)) resets.inc({ reason }, count)
    }
  })
  gauge('signalbox_sessions', 'Connected sessions', () => gateway.sessions.count)
  gauge('signalbox_stalled_sessions', 'Sessions whose connection holds bytes back', () => gateway.sessions.stalled)
  gauge('signalbox_rooms', 'Rooms', () => gateway.rooms.length)
  gauge('signalbox_keys', 'Present values over all rooms', () => gateway.rooms.reduce((keys, room) => keys + room.keys, 0))
  gauge('signalbox_history_events', 'Facts and deletions kept for resuming', () => gateway.history.events)
  gauge('signalbox_backlog_seconds', 'Age of the oldest event owed to a connected client', () => gateway.backlogMs / 1000)
  gauge('signalbox_tick_seconds', 'Length of the current tick', () => gateway.tickMs / 1000)
  gauge('signalbox_ready', '1 while new work is taken', () => gateway.trouble === null ? 1 : 0)

  app.get('/metrics', {
    schema: { tags: ['status'], summary: 'Prometheus metrics' }
  }, async (_request, reply) => await reply.type(registry.contentType).send(await registry.metrics()))
}
