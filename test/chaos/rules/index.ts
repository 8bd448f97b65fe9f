// The twelve rules: what must hold in every record of a run.

import { bounds } from './bounds.ts'
import { errors } from './errors.ts'
import { invented } from './invented.ts'
import { isolation } from './isolation.ts'
import { liveness } from './liveness.ts'
import { lost } from './lost.ts'
import { order } from './order.ts'
import { refused } from './refused.ts'
import { resets } from './resets.ts'
import type { Rule } from './rule.ts'
import { substance } from './substance.ts'
import { twice } from './twice.ts'
import { values } from './values.ts'

export const RULES: readonly Rule[] = [invented, refused, lost, resets, twice, order, values, isolation, liveness, bounds, errors, substance]
