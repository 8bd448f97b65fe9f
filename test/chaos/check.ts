// Judges the record of a run that has been: node --import tsx test/chaos/check.ts FILE… Exit codes: 0 pass, 1 fail, 3 unknown.

import { readHistory } from './history.ts'
import { describe, EXIT_CODES, judge } from './verdict.ts'

const paths = process.argv.slice(2)
if (paths.length === 0) {
  console.error('name the files of one run: node --import tsx test/chaos/check.ts history/*.jsonl')
  process.exitCode = 2
} else {
  const result = judge(readHistory(...paths))
  console.log(describe(result, paths))
  process.exitCode = EXIT_CODES[result.verdict]
}
