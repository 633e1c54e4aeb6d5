"""idle_server_asyncio.py PORT POLICY: holds idle clients, and tells at once which of them are gone. One asyncio loop."""
import asyncio
import contextlib
import signal
import sys

import hbeat


class Client(asyncio.Protocol):
    def __init__(self, engine, policy):
        self.engine, self.policy = engine, policy

    def connection_made(self, transport):
        self.transport = transport
        # hbeat only looks at the socket, to know what we have not read yet.
        self.link = self.engine.open(self.policy, name=f"client-{transport.get_extra_info('peername')[1]}", protocol="heart",
                                     fd=transport.get_extra_info("socket"), data=self)

    def data_received(self, data):
        with contextlib.suppress(hbeat.ClosedError, hbeat.DesyncError):  # It is DOWN: hear() knows, or will.
            if self.link.feed(data):
                self.transport.write(self.link.take())

    def eof_received(self):
        self.link.report_down(hbeat.Cause.CLOSED_BY_PEER)
        return True  # hear() closes: the link first, then the connection.

    def connection_lost(self, error):
        with contextlib.suppress(hbeat.ClosedError):  # hear() was first
            if error is not None:
                self.link.report_down(hbeat.Cause.RESET)


async def hear(engine):
    async for event in engine.events():
        if event.type == hbeat.EventType.SEND:
            event.data.transport.write(event.link.take())
        elif event.type == hbeat.EventType.CLOSED:
            event.data.transport.abort()
        else:
            print(event, flush=True)
            if event.type == hbeat.EventType.DOWN:
                event.link.close()


async def main():
    # The loop turns the engine: no thread, and a loop that was late blames nobody.
    with hbeat.Engine(run=hbeat.Run.APPLICATION) as engine:
        loop, policy = asyncio.get_running_loop(), hbeat.Policy(sys.argv[2])
        server = await loop.create_server(lambda: Client(engine, policy), "127.0.0.1", int(sys.argv[1]))
        loop.add_signal_handler(signal.SIGTERM, engine.stop)
        print("listening", server.sockets[0].getsockname()[1], flush=True)
        await hear(engine)
        server.close()
        await asyncio.sleep(0)  # Connections that were aborted close in the next turn.


asyncio.run(main())
