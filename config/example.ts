// Prints `.env.example`, or with --markdown the table of the README.

import { environmentExample, settingsTable } from './report.ts'

process.stdout.write(process.argv.includes('--markdown') ? settingsTable() : environmentExample())
