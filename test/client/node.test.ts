// The client in Node.

import t from 'tap'
import { connect } from '../../src/client/node.ts'
import { record } from './record.ts'
import { clientSuite } from './suite.ts'

clientSuite(t, {
  name: 'Node',
  async open (t, url, wish) {
    const box = connect(url, wish)
    t.teardown(() => box.close())
    return record(box)
  }
})
