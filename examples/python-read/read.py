#!/usr/bin/env python3
"""Reads rooms and follows them by long-polling, with nothing but requests (pip install requests).

    python3 examples/python-read/read.py http://127.0.0.1:3000 plant-1

Prints an event a line, as JSON: first the present values, then what follows. Where tokens are asked for, set SIGNALBOX_TOKEN.
"""
import json
import os
import sys
import time

try:
    import requests
except ModuleNotFoundError:
    sys.exit("read.py needs requests: python3 -m pip install requests (or apt install python3-requests)")


def follow(base, rooms, cursor=None):
    """Yields (events, reset). At a reset forget the values you keep: the present ones are among the events."""
    session = requests.Session()
    if "SIGNALBOX_TOKEN" in os.environ:
        session.headers["Authorization"] = f"Bearer {os.environ['SIGNALBOX_TOKEN']}"
    is_away = False
    while True:
        params = {"rooms": ",".join(rooms), "lastEventId": cursor, "wait": 20}
        try:
            answer = session.get(f"{base}/api/events", params=params, timeout=30)
            problem = f"it answers {answer.status_code}" if answer.status_code in (429, 502, 503) else None
        except (requests.ConnectionError, requests.Timeout):
            problem = "it does not answer"
        if problem is not None:
            if not is_away:
                print(f"{base}: {problem}; trying again", file=sys.stderr, flush=True)
            is_away = True
            time.sleep(1)  # it restarts, or is full: the cursor still counts
            continue
        is_away = False
        if answer.status_code != 200:
            sys.exit(answer.text)
        body = answer.json()
        yield body["events"], body["reset"]
        cursor = body["cursor"]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        for events, reset in follow(sys.argv[1].rstrip("/"), sys.argv[2:]):
            if reset is not None:
                print(f"reset: {reset['reason']}", file=sys.stderr)
            for event in events:
                print(json.dumps(event), flush=True)
    except KeyboardInterrupt:
        pass
