#!/usr/bin/env python3
"""The beats of benches/sockets as a program on asyncio has them: for each connection a protocol and a timer.

    asyncio_beats.py PORT CONNECTIONS"""
import asyncio
import struct
import sys

INTERVAL = 1.0
TRIES = 6
# Connections that are made at the same time.
AT_ONCE = 50
PING = struct.Struct("!III")
ANSWER = struct.Struct("!IIIB")


class Beats(asyncio.Protocol):
    def __init__(self, loop, due):
        self.loop = loop
        self.due = due
        self.sequence = self.unanswered = 0

    def connection_made(self, transport):
        self.transport = transport
        self.timer = self.loop.call_at(self.due, self.beat)

    def beat(self):
        if self.unanswered == TRIES:
            self.transport.abort()
            return
        self.unanswered += 1
        self.sequence += 1
        self.transport.write(PING.pack(PING.size, 0x00000008, self.sequence))
        self.due += INTERVAL
        self.timer = self.loop.call_at(self.due, self.beat)

    def data_received(self, data):
        for length, command, sequence, _ in ANSWER.iter_unpack(data):
            if (length, command, sequence) == (ANSWER.size, 0x80000008, self.sequence):
                self.unanswered = 0

    def connection_lost(self, error):
        self.timer.cancel()


async def connect(loop, port, number, due):
    # Eight addresses, so that the ports of one do not run out.
    await loop.create_connection(lambda: Beats(loop, due), f"127.0.0.{2 + number % 8}", port)


async def main(port, connections):
    loop = asyncio.get_running_loop()
    begun = loop.time()

    def phase(number):
        return begun + INTERVAL * number / connections

    for first in range(0, connections, AT_ONCE):
        await asyncio.sleep(max(0, phase(first) - loop.time()))
        numbers = range(first, min(first + AT_ONCE, connections))
        await asyncio.gather(*(connect(loop, port, number, phase(number) + INTERVAL) for number in numbers))
    await loop.create_future()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
