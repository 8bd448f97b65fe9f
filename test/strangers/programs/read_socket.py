"""Joins a room over the WebSocket with the limits that websockets has by itself: 1 MiB a message."""
import asyncio, json, sys

import websockets

async def main(url, room):
    keys = set()
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"action": "join", "room": room}))
        async for text in socket:
            message = json.loads(text)
            if message["event"] == "events":
                keys.update(event["key"] for event in message["data"])
            elif message["event"] == "ready":
                break
    print(len(keys))

asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 20))
