// All faults by name.

import type { MakeFault } from '../fault.ts'
import { kill, killPrimary, killWorker, none } from './kill.ts'
import { bandwidth, blackHole, buffering, cuts, halfOpen, herd, latency, resets, slices } from './network.ts'
import { stall, stop } from './pause.ts'
import { redisFailover, redisFlush, redisFull, redisHang, redisKick, redisKill, redisPartition } from './redis.ts'
import { crashRollback, restart, rollback } from './restart.ts'

export const FAULTS: readonly MakeFault[] = [
  none, kill, killWorker, killPrimary, restart, rollback, crashRollback, stop, stall,
  latency, bandwidth, slices, resets, blackHole, cuts, buffering, halfOpen, herd,
  redisKill, redisHang, redisKick, redisPartition, redisFull, redisFlush, redisFailover
]
