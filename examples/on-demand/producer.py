#!/usr/bin/env python3
"""A backend that produces only what somebody watches. It reads from Redis which rooms are occupied.

    pip install redis
    REDIS_URL=redis://127.0.0.1:6379 python3 examples/on-demand/producer.py
"""
import json
import os
import time

import redis

PREFIX = os.environ.get("REDIS_PREFIX", "signalbox:")
r = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), decode_responses=True)
occupied = set()
last = "0"  # from the oldest entry on: the last one of each room counts

while True:
    try:
        # Waits a second at most, which is the pace of what is produced below.
        while found := r.xread({f"{PREFIX}occupancy": last}, count=1000, block=1000):
            for last, change in found[0][1]:
                (occupied.add if change["occupied"] == "1" else occupied.discard)(change["room"])
            if len(found[0][1]) < 1000:
                break
        for room in occupied:
            r.xadd(f"{PREFIX}ingest", {"event": json.dumps({"type": "clock", "room": room, "key": "now", "data": time.time()})})
    except redis.ConnectionError:
        time.sleep(1)
