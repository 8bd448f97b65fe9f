// The runner's counts and failures from tap's output.

import t from 'tap'
import { TapSummary } from './tap-summary.ts'

const RUN = `TAP version 14
1..4
# Subtest: test/good.test.ts
    # Subtest: it holds
        ok 1 - a thing # time=1ms
        ok 2 - another - with # marks
        1..2
    ok 1 - it holds # time=6.162ms

    ok 2 - not here # SKIP no redis-server
    ok 3 - one day # TODO
    1..3
    # time=97.288ms
ok 1 - test/good.test.ts # time=97.288ms

# Subtest: test/bad.test.ts
    # Subtest: it breaks
        ok 1 - first
        not ok 2 - one is two
          ---
          diff: |
            not ok 7 - this is a text
            +1
          ...
        1..2
    not ok 1 - it breaks # time=68.682ms
      ---
      at:
        lineNumber: 3
      ...

    1..1
not ok 2 - test/bad.test.ts # time=91.569ms
  ---
  exitCode: 1
  ...

not ok 3 - timeout!
  ---
  expired: test/slow.test.ts
  ...

# Subtest: test/crash.test.ts
    1..0
not ok 4 - test/crash.test.ts # time=9ms
  ---
  exitCode: 7
  ...

`

t.test('every check is counted once, and a file that did not pass is named', async t => {
  for (const size of [1, 7, RUN.length]) {
    const printed: string[] = []
    const summary = new TapSummary(text => printed.push(text))
    for (let at = 0; at < RUN.length; at += size) summary.write(RUN.slice(at, at + size))
    const { passed, failed, skipped, failures, complete } = summary
    t.same({ passed, failed, skipped, complete }, { passed: 3, failed: 3, skipped: 2, complete: true })
    t.same(failures, [
      { file: 'test/bad.test.ts', timedOut: false },
      { file: 'test/slow.test.ts', timedOut: true },
      { file: 'test/crash.test.ts', timedOut: false }
    ])
    t.equal(summary.times.get('test/good.test.ts'), 97.288)
    t.equal(printed.length, 1)
    t.match(printed[0], /^not ok: test\/bad\.test\.ts > it breaks > one is two\n {2}diff: \|\n/)
  }
})

t.test('a file that met its time limit by itself is one failure, and the file whose place tap takes for it has not run', async t => {
  const summary = new TapSummary(() => {})
  summary.write(`1..2
# Subtest: test/slow.test.ts
    # Subtest: it hangs
        not ok 1 - timeout!
          ---
          expired: TAP
          ...
        1..1
    not ok 1 - it hangs
    1..1
not ok 1 - test/slow.test.ts
  ---
  signal: SIGALRM
  ...

not ok 2 - timeout!
  ---
  expired: test/slow.test.ts
  ...
`)
  const { failed, finished, planned, complete, failures } = summary
  t.same({ failed, finished, planned, complete, failures }, { failed: 1, finished: 1, planned: 2, complete: false, failures: [{ file: 'test/slow.test.ts', timedOut: true }] })
})

t.test('a run that was cut short is not complete', async t => {
  const summary = new TapSummary(() => {})
  summary.write(RUN.slice(0, RUN.indexOf('# Subtest: test/bad')))
  t.same([summary.passed, summary.finished, summary.planned, summary.complete], [2, 1, 4, false])
})
