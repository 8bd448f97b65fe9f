// All faults by name.

import type { MakeFault } from '../fault.ts'
import { kill, killPrimary, killWorker, none } from './kill.ts'

export const FAULTS: readonly MakeFault[] = [none, kill, killWorker, killPrimary]
