// Prints `.env.example`, or with --markdown a table of the settings.

import { environmentExample, settingsTable } from './report.ts'

process.stdout.write(process.argv.includes('--markdown') ? settingsTable() : environmentExample())
