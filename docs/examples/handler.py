#!/usr/bin/env python3
"""A backend that serves a command over Redis. Start as many as you like, of handler.mjs too: each command goes to exactly one of them.

    pip install redis
    REDIS_URL=redis://127.0.0.1:6379 python3 docs/examples/handler.py
    curl -X POST http://127.0.0.1:3000/api/control -H 'Content-Type: application/json' \
      -d '{"command": "move", "args": {"axis": "x", "to": 12}}'
"""
import json
import os
import signal
import socket
import time

import redis

COMMAND = "move"
# What the gateway knows about this command. retry: whether it may run again on another backend if this one dies while it
# runs. timeout: seconds until this backend counts as dead. schema: the gateway refuses invalid arguments.
DECLARATION = {
    "description": "Moves an axis to a position.",
    "retry": False,
    "timeout": 30,
    "schema": {
        "type": "object",
        "required": ["axis", "to"],
        "additionalProperties": False,
        "properties": {"axis": {"enum": ["x", "y", "z"]}, "to": {"type": "number"}, "seconds": {"type": "number", "minimum": 0, "maximum": 20}},
    },
}


def move(args, job):
    """The return value is the result, any JSON. An exception is the error. job["id"] is the same in every attempt."""
    print(f"run {job['id']} attempt {job['attempt']} for {job['caller']}", flush=True)
    if args["to"] > 1000:
        raise ValueError(f"axis {args['axis']} ends at 1000")
    time.sleep(args.get("seconds", 0))
    return {"axis": args["axis"], "position": args["to"]}


PREFIX = os.environ.get("REDIS_PREFIX", "signalbox:")
STREAM = f"{PREFIX}commands:{COMMAND}"
ME = f"{socket.gethostname()}:{os.getpid()}"
r = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), decode_responses=True, socket_timeout=10)


def serve(entry, job):
    try:
        answer = {"result": json.dumps(move(json.loads(job["args"]), job))}
    except Exception as error:
        answer = {"error": str(error)}
    while True:
        try:
            r.xadd(f"{PREFIX}results", {"id": job["id"], "entry": entry, **answer})
            return
        except (redis.ConnectionError, redis.TimeoutError) as error:  # an answer that arrives twice counts once
            print(error, flush=True)
            time.sleep(1)


stopping = False


def stop(*_):
    global stopping
    stopping = True


signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)

while not stopping:
    try:
        r.hset(f"{PREFIX}handlers", COMMAND, json.dumps(DECLARATION))
        try:
            r.xgroup_create(STREAM, "handlers", id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        print(f"serving {COMMAND} as {ME}", flush=True)
        while not stopping:
            for _, entries in r.xreadgroup("handlers", ME, {STREAM: ">"}, count=1, block=2000):
                for entry, job in entries:
                    serve(entry, job)
    except redis.RedisError as error:  # the loop declares the command again, also after Redis was emptied
        print(error, flush=True)
        time.sleep(1)
