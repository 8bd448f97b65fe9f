#!/usr/bin/env python3
"""Publishes the load of this machine, with nothing but Python's standard library.

    python3 publish.py http://127.0.0.1:3000 plant-1

Where tokens are asked for, set SIGNALBOX_TOKEN.
"""
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
import uuid

BASE, ROOM, TIMES = (sys.argv[1:] + ["http://127.0.0.1:3000", "plant-1", "inf"][len(sys.argv) - 1:])[:3]


def publish(events):
    """Tries until the gateway has the events. The key makes a repeat safe: they are published once."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    if "SIGNALBOX_TOKEN" in os.environ:
        headers["Authorization"] = f"Bearer {os.environ['SIGNALBOX_TOKEN']}"
    request = urllib.request.Request(f"{BASE}/api/events", json.dumps(events).encode(), headers)
    is_away = False
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)["ids"]
        except urllib.error.HTTPError as error:
            if error.code != 429 and error.code < 502:
                sys.exit(error.read().decode())
            problem, wait = f"it answers {error.code}", float(error.headers.get("Retry-After", 1))
        except OSError:
            problem, wait = "it does not answer", 1
        if not is_away:
            print(f"{BASE}: {problem}; trying again", file=sys.stderr, flush=True)
        is_away = True
        time.sleep(wait)


n = 0
while n < float(TIMES):
    if n > 0:
        time.sleep(1)
    n += 1
    print(publish([{"type": "load", "room": ROOM, "key": socket.gethostname(), "data": {"load": os.getloadavg()[0]}}])[0], flush=True)
