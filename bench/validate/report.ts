// The files of a run: a page for people, JSON for programs.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { machine } from './findings.ts'
import type { Report } from './findings.ts'
import { TARGETS } from './judge.ts'
import { page } from './page.ts'

/** @returns where they are */
export function writeReports (report: Report, folder: string): { html: string, json: string } {
  mkdirSync(folder, { recursive: true })
  const [html, json] = [join(folder, 'validation.html'), join(folder, 'validation.json')] as const
  const { workloads, ...rest } = report
  const described = workloads.map(({ name, what, rate, saves }) => ({ name, what, eventsPerSecond: rate, cpuJudged: saves }))
  writeFileSync(json, JSON.stringify({ machine: machine(), targets: TARGETS, ...rest, workloads: described }, null, 2))
  writeFileSync(html, page(report))
  return { html, json }
}
