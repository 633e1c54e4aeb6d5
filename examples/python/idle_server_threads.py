"""idle_server_threads.py PORT POLICY: holds idle clients, and tells at once which of them are gone. Threads."""
import contextlib
import signal
import socket
import sys
import threading

import hbeat


class Client:
    def __init__(self, connection, engine, policy, port):
        self.connection, self.writing = connection, threading.Lock()
        # hbeat only looks at the socket; it must stay open until the link is closed.
        self.link = engine.open(policy, name=f"client-{port}", protocol="heart", fd=connection, data=self)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with contextlib.suppress(hbeat.ClosedError, hbeat.DesyncError):  # It is DOWN: the main thread knows, or will.
            try:
                while data := self.connection.recv(4096):
                    if self.link.feed(data):
                        self.write()
                self.link.report_down(hbeat.Cause.CLOSED_BY_PEER)
            except OSError as error:
                self.link.report_down(hbeat.Cause.RESET, error.errno or 0)

    def write(self):
        with self.writing:
            frames = self.link.take()
            try:
                # Never wait for a peer in the thread that hears of all of them.
                self.connection.send(frames, socket.MSG_DONTWAIT)
            except OSError:
                self.link.unsent()  # The reader finds out why.


def accept(listener, engine, policy):
    while True:
        connection, address = listener.accept()
        Client(connection, engine, policy, address[1])


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with hbeat.Engine() as engine, socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    threading.Thread(target=accept, args=(listener, engine, hbeat.Policy(sys.argv[2])), daemon=True).start()
    print("listening", listener.getsockname()[1], flush=True)
    for event in engine.events():
        if event.type == hbeat.EventType.SEND:
            event.data.write()
        elif event.type == hbeat.EventType.CLOSED:
            event.data.connection.close()
        else:
            print(event, flush=True)
            if event.type == hbeat.EventType.DOWN:
                event.link.close()
                with contextlib.suppress(OSError):
                    event.data.connection.shutdown(socket.SHUT_RDWR)
