"""Reads a room over the stream line by line, with the limits that asyncio and aiohttp have by themselves: 64 KiB a line."""
import asyncio, json, sys
from urllib.parse import urlsplit

import aiohttp

async def with_asyncio(url):
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    # HTTP/1.0: the body is not in chunks.
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
    while (await reader.readline()).strip():
        pass
    while line := await reader.readline():
        yield line
    writer.close()

async def with_aiohttp(url):
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            async for line in response.content:
                yield line

async def count(lines):
    """The keys up to `ready`, by the rules of the event stream format."""
    keys, name, data = set(), "message", []
    async for line in lines:
        field, _, value = line.decode().rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "":
            if data and name == "message":
                keys.update(event["key"] for event in json.loads("\n".join(data)))
            if name == "ready":
                return len(keys)
            name, data = "message", []
    raise EOFError("the stream has ended")

print(asyncio.run(asyncio.wait_for(count({"asyncio": with_asyncio, "aiohttp": with_aiohttp}[sys.argv[1]](sys.argv[2])), 20)))
