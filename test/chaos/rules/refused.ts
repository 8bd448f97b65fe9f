import { nameOf, placeOf } from './rule.ts'
import type { Rule, Violation } from './rule.ts'
import type { Recording } from '../recording.ts'

export const refused: Rule = {
  number: 2,
  name: 'nothing refused appears',
  holds: 'An event whose publish was refused, in each of its tries, is received by nobody.',
  * check (recording: Recording): Generator<Violation> {
    for (const event of recording.events) {
      if (event.publish?.outcome !== 'fail' || event.chain === null) continue
      yield { what: `${nameOf(event)} was received by ${event.chain}, and its publish was refused: ${event.publish.codes.join()}`, count: 1, chain: event.chain, at: placeOf(event), see: [placeOf(event.publish)] }
    }
  }
}
