"""One run of one client over the preloaded stream: start, wait until ready, let go, watch, check.

What is measured is the working phase only. The client is started on an empty stream and waited for until it blocks
in its read; then RENAME puts the preloaded stream into place, which wakes it. So no client's start-up (an
interpreter, a JIT, a connection, reading a position) is in any figure, and everybody's warm-up of its JIT is.
"""

import json
import subprocess
import time

from . import build, process
from .clients import Running

LOADED = "events.loaded"  # where the preloaded stream waits between runs
POLL_SECONDS = 0.003


def make_empty_stream(redis):
    """`events`, without entries and without a group: what every client finds when it starts."""
    redis("XGROUP", "CREATE", "events", "bench", "0", "MKSTREAM")
    redis("XGROUP", "DESTROY", "events", "bench")


class Work:
    """The preloaded stream, and what a correct client makes of it."""

    def __init__(self, server, events, users, seed, mix="mixed", pick="random"):
        self._server = server
        loader = build.c_program("loader")
        self._check = build.c_program("check")
        done = subprocess.run([loader, server.path, LOADED, str(events), str(users), str(seed), mix, pick],
                              stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit("bench: the loader failed")
        self.expected = json.loads(done.stdout)
        self.events = events
        self.last_id = self.expected["last_id"]

    def reset(self):
        """As if nobody had ever worked: outputs and positions deleted, the stream aside, its group at 0."""
        redis = self._server.command
        if not redis("EXISTS", LOADED):
            redis("RENAME", "events", LOADED)
        redis("XGROUP", "DESTROY", LOADED, "bench")
        redis("XGROUP", "CREATE", LOADED, "bench", "0")
        stale = [key for key in redis.keys("*") if key != LOADED]
        if stale:
            redis("DEL", *stale)  # not UNLINK: its thread would still be busy while the next client works
        make_empty_stream(redis)

    def verify(self, client):
        """Every offer, in order, and every total must be what the oracle says, to the last bit."""
        done = subprocess.run([self._check, self._server.path, "offers", client.totals_key],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"bench: WRONG RESULT of {client.key}: {done.stderr.strip()}")
        found = json.loads(done.stdout)
        wrong = [f"  {name}: {value}, should be {self.expected[name]}" for name, value in found.items()
                 if value != self.expected[name]]
        if wrong:
            raise SystemExit(f"bench: WRONG RESULT of {client.key}:\n" + "\n".join(wrong))


def wait_ready(server, running, seconds=30):
    """Ready is who blocks in a read on the stream."""
    deadline = time.monotonic() + seconds
    while int(server.command.info("clients")["blocked_clients"]) == 0:
        running.check_alive()
        if time.monotonic() > deadline:
            raise SystemExit("bench: the client does not wait for events:\n" + running.output())
        time.sleep(0.02)
    time.sleep(0.5)  # whatever else it does at its start


def run(server, work, client, timeout_seconds, watch=None):
    """One run; a dict of figures. `watch(seconds, running)` is called at every look, if given."""
    redis = server.command
    work.reset()
    running = Running(client, server)
    try:
        wait_ready(server, running)
        machine = process.machine_cpu_seconds()
        mine = time.process_time()
        client_cpu, server_cpu = process.cpu_seconds(running.pid), process.cpu_seconds(server.pid)
        start = time.monotonic()
        redis("RENAME", LOADED, "events")
        while not client.is_done(redis, work.last_id):
            if time.monotonic() - start > timeout_seconds:
                raise SystemExit(f"bench: {client.key} did not finish within {timeout_seconds} s:\n"
                                 + running.output())
            running.check_alive()
            if watch:
                watch(time.monotonic() - start, running)
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - start
        server_cpu = process.cpu_seconds(server.pid) - server_cpu
        client_cpu = process.cpu_seconds(running.pid) - client_cpu
        others = process.machine_cpu_seconds() - machine - (time.process_time() - mine) - client_cpu - server_cpu
        figures = {
            "events_per_second": work.events / seconds,
            "seconds": seconds,
            "client_us": client_cpu / work.events * 1e6,
            "server_us": server_cpu / work.events * 1e6,
            "peak_rss_mib": process.peak_rss_mib(running.pid),
            "rss_mib": process.rss_mib(running.pid),
            "others_cpus": max(0.0, others / seconds),
        }
    finally:
        running.stop()
    work.verify(client)
    return figures
