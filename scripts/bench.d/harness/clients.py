"""Who is compared: how each is started, where its position and its totals are found."""

import os
import signal
import subprocess

from . import build, process

TIDEMILL = os.path.join(build.ROOT, "build", "release", "tidemill")


class Client:
    """One row of the table. `prepare` raises build.Missing when it cannot run here."""

    key = ""  # as in --only
    title = ""
    totals_key = "totals"  # the hash of user -> total

    def prepare(self):
        """Builds or installs what it needs; once."""

    def command(self, socket_path):
        raise NotImplementedError

    def is_done(self, redis, last_id):
        """Whether everything up to last_id is committed. Cheap: asked every few milliseconds while it works."""
        group = redis("XINFO", "GROUPS", "events")[0]
        group = dict(zip(group[::2], group[1::2]))
        return group["last-delivered-id"] == last_id and group["pending"] == 0


class PlainC(Client):
    def __init__(self, key, title, program, count):
        self.key, self.title, self._program, self._count = key, title, program, count

    def prepare(self):
        self._path = build.c_program(self._program)

    def command(self, socket_path):
        return [self._path, socket_path, str(self._count)]


class Node(Client):
    key, title = "c", "Node, node-redis 5 + msgpackr"

    def prepare(self):
        self._path = build.node_script("peer_node.mjs")

    def command(self, socket_path):
        return ["node", self._path, socket_path, "500"]


class Python(Client):
    key, title = "d", "Python, redis-py + hiredis + msgpack"

    def prepare(self):
        self._python = build.python_with("redis", "hiredis", "msgpack")

    def command(self, socket_path):
        return [self._python, os.path.join(build.SOURCES, "peer_python.py"), socket_path, "500"]


class Tidemill(Client):
    key, title = "tidemill", "Tidemill, the rule in Lua, exactly once"
    totals_key = "tidemill:bench:state:pricing"
    rules = os.path.join(build.SOURCES, "rules")

    def prepare(self):
        if not os.access(TIDEMILL, os.X_OK):
            raise build.Missing(f"{os.path.relpath(TIDEMILL, build.ROOT)} is not there (make builds it)")

    def command(self, socket_path):
        return [TIDEMILL, "run", "--redis", "unix://" + socket_path, "--group", "bench", "--from", "start",
                "--rules", self.rules, "--http", "off", "--log-level", "warn"]

    def is_done(self, redis, last_id):
        # The offset that counts; the group's position is only a display.
        return redis("HGET", "tidemill:bench:ctl", "offset:events") == last_id


class TidemillWith(Tidemill):
    """Tidemill with other rules: those of a folder beside the harness."""

    def __init__(self, title, *folder):
        self.key, self.title = folder[-1], title
        self.rules = os.path.join(build.SOURCES, *folder)


ALL = [
    PlainC("a", "C, hiredis, XREADGROUP + XACK, pipelined", "peer_group", 500),
    PlainC("b", "C, hiredis, XREAD + SETID in MULTI: the bound", "peer_bound", 1000),
    Node(),
    Python(),
    Tidemill(),
]


def select(only, default):
    """The clients named in `only` ("a,b,tidemill"; None: `default`), ready to run.

    One asked for by name must be able to run; of the default ones, those that cannot are skipped with a line.
    """
    known = {client.key: client for client in ALL}
    names = (only or default).split(",")
    chosen = []
    for name in names:
        if name not in known:
            raise SystemExit(f"bench: --only {name}: known are {', '.join(known)}")
        try:
            known[name].prepare()
            chosen.append(known[name])
        except build.Missing as missing:
            if only:
                raise SystemExit(f"bench: {name}: {missing}")
            print(f"skipped: {name} ({known[name].title}): {missing}", flush=True)
    if not chosen:
        raise SystemExit("bench: no client can run")
    return chosen


class Running:
    """A started client, from spawn to kill."""

    def __init__(self, client, server):
        self._client = client
        self._log = open(os.path.join(server.folder, f"client-{client.key}.log"), "w+b")
        # Its own session and working folder: no settings file of the checkout applies.
        self._process = subprocess.Popen(client.command(server.path), stdin=subprocess.DEVNULL, stdout=self._log,
                                         stderr=self._log, cwd=server.folder, start_new_session=True)
        self.pid = self._process.pid

    def check_alive(self):
        if self._process.poll() is not None:
            raise SystemExit(f"bench: {self._client.key} ended with {self._process.returncode} instead of working:\n"
                             + self.output())

    def kill(self, is_whole):
        """SIGKILL without a warning: to its workers alone, or to the whole of it (then it is not started again here)."""
        for victim in process.tree(self.pid)[0 if is_whole else 1:]:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it went along with its parent
        if is_whole:
            self._process.wait()

    def output(self):
        self._log.flush()
        self._log.seek(0)
        return self._log.read()[-4000:].decode(errors="replace").strip()

    def stop(self):
        """SIGTERM, since Tidemill's workers are its children; SIGKILL for whoever stays."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()
        self._log.close()
