"""watch.py HOST PORT: watches a server that sends each line back, for as long as it does."""
import asyncio
import sys

import hbeat


async def main(host, port):
    reader, writer = await asyncio.open_connection(host, port)

    async def ask():
        writer.write(b"still there?\n")
        if not await reader.readline():
            raise EOFError("the server closed the connection")

    try:
        async with hbeat.watch(ask, "normal interval=500ms timeout=400ms", name=f"{host}:{port}"):
            await asyncio.sleep(3600)  # The program's own work; cancelled when the server is gone.
    except hbeat.LinkDown as down:
        print(down, "because of", repr(down.__cause__))


asyncio.run(main(*sys.argv[1:]))
