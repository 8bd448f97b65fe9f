// The places a client is tested in: this process, and a page of a real browser.

import t from 'tap'
import { connect } from '../../src/client/node.ts'
import type { ConnectOptions } from '../../src/client/node.ts'
import { openTab } from '../browser/tab.ts'
import { openBrowser, openContext, skipWithout } from '../tools/chromium.ts'
import type { Driver } from './driver.ts'
import { record } from './record.ts'

export const DRIVERS: readonly Driver[] = [
  {
    name: 'Node',
    async open (t, url, options) {
      const box = connect(url, options as ConnectOptions)
      t.teardown(() => box.close())
      return record(box)
    }
  },
  { name: 'Chromium', skip: skipWithout('chromium'), open: async (test, url, options) => await openTab(await openContext(test, await openBrowser(t)), url, options) }
]
