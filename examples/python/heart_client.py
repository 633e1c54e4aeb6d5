"""heart_client.py ENDPOINT: tells a heartd that this machine lives, and how busy it is."""
import os
import sys

import hbeat

with hbeat.Engine() as engine:
    link = engine.dial(sys.argv[1], "normal interval=1s timeout=1s")
    while True:
        link.set_state(b"load=%.2f" % os.getloadavg()[0])
        for event in engine.wait(1.0):
            print(event, flush=True)
