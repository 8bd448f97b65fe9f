import neostandard from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['dist', 'reports', '.tap'] }),
  // `void promise()` says that nobody waits for it.
  { rules: { 'no-void': ['error', { allowAsStatement: true }] } }
]
