import neostandard, { plugins } from 'neostandard'

const { parser, plugin } = plugins['typescript-eslint']

export default [
  ...neostandard({ ts: true, ignores: ['dist', 'reports', '.tap'] }),
  // `void promise()` says that nobody waits for it and that it cannot fail.
  { rules: { 'no-void': ['error', { allowAsStatement: true }] } },
  {
    files: ['**/*.ts'],
    plugins: { '@typescript-eslint': plugin },
    languageOptions: { parser, parserOptions: { project: 'tsconfig.eslint.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      // The parent of a subtest waits for it.
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafePromises: [{ from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' }] }],
      '@typescript-eslint/no-misused-promises': 'error'
    }
  }
]
