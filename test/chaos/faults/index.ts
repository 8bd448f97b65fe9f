// All faults by name.

import type { MakeFault } from '../fault.ts'
import { clockJump } from './clock.ts'
import { bitFlip, diskFull } from './disk.ts'
import { kill, killPrimary, killWorker, none } from './kill.ts'
import { descriptors, logBlocked } from './limits.ts'
import { mixes } from './mixed.ts'
import { bandwidth, blackHole, buffering, cuts, halfOpen, herd, latency, resets, slices } from './network.ts'
import { stall, stop } from './pause.ts'
import { dripReaders, zeroReaders } from './readers.ts'
import { redisFailover, redisFlush, redisFull, redisHang, redisKick, redisKill, redisPartition } from './redis.ts'
import { crashRollback, restart, rollback } from './restart.ts'
import { switchProfile } from './switch.ts'
import { keyRotation, tokenExpiry } from './tokens.ts'

const networks = [latency, bandwidth, slices, resets, blackHole, cuts, buffering, halfOpen, herd]

export const FAULTS: readonly MakeFault[] = [
  none, kill, killWorker, killPrimary, restart, rollback, crashRollback, switchProfile, stop, stall,
  ...networks, zeroReaders, dripReaders,
  redisKill, redisHang, redisKick, redisPartition, redisFull, redisFlush, redisFailover,
  diskFull, bitFlip, clockJump, descriptors, logBlocked, tokenExpiry, keyRotation,
  ...mixes({
    processes: [kill, restart, rollback, crashRollback],
    survived: [switchProfile, zeroReaders, dripReaders],
    pauses: [stop, stall],
    networks,
    workers: [killWorker, killPrimary, restart, rollback, stall],
    redis: [redisKill, redisHang, redisKick, redisFull]
  })
]
