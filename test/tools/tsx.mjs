// Preloaded by NODE_OPTIONS (run.ts) into each test that tap starts. Tap's own loader translates all sources anew in each of
// its hundred processes, 3 s of work for one that has the whole gateway; tsx keeps what it has translated.

if (process.argv[1]?.endsWith('.test.ts')) {
  // What the test starts is not one.
  const others = (process.env.NODE_OPTIONS ?? '').replace(`--import=${import.meta.url}`, '').trim()
  if (others === '') delete process.env.NODE_OPTIONS
  else process.env.NODE_OPTIONS = others
  await import('tsx')
  // Tap's loader, told that there is nothing for it to do.
  const told = process.env.TAP_TYPE_STRIP_ONLY
  process.env.TAP_TYPE_STRIP_ONLY = '1'
  await import('@tapjs/typescript/import')
  if (told === undefined) delete process.env.TAP_TYPE_STRIP_ONLY
  else process.env.TAP_TYPE_STRIP_ONLY = told
}
