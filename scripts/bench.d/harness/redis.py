"""A private redis-server, and the few commands the harness sends it (standard library only)."""

import os
import shutil
import socket
import subprocess
import tempfile
import time


class RedisError(Exception):
    pass


def _encode(words):
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(out)


class Connection:
    """A blocking RESP2 client: enough to reset and to watch."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(600)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def __call__(self, *words):
        self._socket.sendall(_encode(words))
        return self._reply()

    def pipeline(self, commands):
        """Sends all, then takes all replies; so they must be few enough for the buffers of a socket: some hundred."""
        self._socket.sendall(b"".join(map(_encode, commands)))
        return [self._reply() for _ in commands]

    def _reply(self):
        line = self._file.readline()
        if not line:
            raise RedisError("redis-server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2].decode(errors="replace")
        if kind == b"*":
            return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        raise RedisError(f"not RESP: {line!r}")

    def info(self, section):
        lines = self("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def keys(self, pattern):
        found, cursor = [], "0"
        while True:
            cursor, page = self("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            found += page
            if cursor == "0":
                return found

    def entries_added(self, stream):
        """How many entries a stream has had ever; 0: there is none."""
        fields = self("XINFO", "STREAM", stream) if self("EXISTS", stream) else ["entries-added", 0]
        return dict(zip(fields[::2], fields[1::2]))["entries-added"]

    def close(self):
        self._file.close()
        self._socket.close()


class Server:
    """redis-server on a unix socket in a temporary folder: no port, nothing kept, gone at the end."""

    def __init__(self):
        program = shutil.which("redis-server")
        if not program:
            raise SystemExit("bench: redis-server is not installed (scripts/setup installs it)")
        self.folder = tempfile.mkdtemp(prefix="tidemill-bench.")
        self.path = os.path.join(self.folder, "redis.sock")
        self._process = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", self.path, "--save", "", "--appendonly", "no",
             "--dir", self.folder, "--logfile", os.path.join(self.folder, "redis.log")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.pid = self._process.pid
        deadline = time.monotonic() + 10
        while True:
            try:
                self.command = Connection(self.path)
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.close()
                    raise SystemExit("bench: redis-server did not start")
                time.sleep(0.02)

    def close(self):
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
