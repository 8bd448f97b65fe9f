// The client in a page of a real browser.

import t from 'tap'
import { openTab } from '../browser/tab.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import { clientSuite } from './suite.ts'

clientSuite(t, {
  name: 'Chromium',
  skip: skipWithout('chromium'),
  open: async (test, url, options) => await openTab(await openContext(test, await openBrowser(t)), url, options)
})
