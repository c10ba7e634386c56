"""Full load while rules are reloaded: the longest gap between commits, events lost and doubled, throughput.

The pricing rule among others, 200 in all: every tenth looks at each event and wants none of it, the others read
streams on which nothing comes. While the preloaded stream is
worked off, one of them is edited again and again, and `reload` asked for over the control socket, each as soon as the
one before is live. The same run without reloads is the measure. What was written is compared with the oracle, to the
last bit, so nothing is lost or doubled. A gap is the time between two offers, by the IDs that Redis gave them.
"""

import os
import shutil
import socket
import tempfile
import threading
import time

from . import build, clients, phase, report
from .arguments import positive
from .redis import Server

NAME = "reload"
HELP = "200 rules, full load, 100 reloads: longest gap between commits, events lost or doubled, throughput"

OTHER = """-- edit %d
return require("tidemill").rule {
  stream = "%s", when = { sku = "none-%d" },
  on_event = function(event, ctx) ctx.emit("never", event) end,
}
"""


def add_arguments(parser):
    parser.add_argument("--events", type=positive, default=3_000_000, metavar="N", help="entries preloaded (3,000,000)")
    parser.add_argument("--users", type=positive, default=10_000, metavar="N", help="distinct user_id (10,000)")
    parser.add_argument("--rules", type=positive, default=200, metavar="N", help="rules in all (200)")
    parser.add_argument("--reloads", type=positive, default=100, metavar="N", help="while it works (100)")


class Many(clients.Tidemill):
    """Tidemill with a rules folder of its own."""

    def __init__(self, folder, rules):
        self.rules = os.path.join(folder, "rules")
        self.control = os.path.join(folder, "control")
        os.mkdir(self.rules)
        shutil.copy(os.path.join(build.SOURCES, "rules", "pricing.lua"), self.rules)
        for number in range(1, rules):
            self.edit(number, 0)

    def edit(self, number, version):
        path = os.path.join(self.rules, f"other{number}.lua")
        with open(path + ".new", "w") as file:
            stream = "events" if number % 10 == 0 else f"quiet:{number % 10}"
            file.write(OTHER % (version, stream, number))
        os.rename(path + ".new", path)

    def command(self, socket_path):
        return super().command(socket_path) + ["--control", self.control]

    def ask(self, question):
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(60)
            asked.connect(self.control)
            asked.sendall(question.encode() + b"\n")
            answer = b""
            while part := asked.recv(65536):
                answer += part
            return answer.decode()


class Editor(threading.Thread):
    """Edits and reloads from the first look on, until it is done or the work is."""

    def __init__(self, client, rules, reloads):
        super().__init__(daemon=True)
        self._client, self._rules, self._reloads = client, rules, reloads
        self.seconds, self.is_over, self.failure = [], False, None

    def run(self):
        try:
            for version in range(1, self._reloads + 1):
                if self.is_over:
                    return
                begin = time.monotonic()
                self._client.edit(1 + version % (self._rules - 1), version)
                answer = self._client.ask("reload")
                if '"problems":[]' not in answer or '"refusals":[]' not in answer:
                    raise RuntimeError(answer)
                self.seconds.append(time.monotonic() - begin)
        except Exception as failure:  # told by the main thread
            self.failure = failure


def _gaps(redis):
    """Milliseconds between one offer and the next, where there are any: the longest, and how many beyond 20."""
    at, before, first, longest, beyond, place = "-", None, 0, 0, 0, 0
    while True:
        page = redis("XRANGE", "offers", at, "+", "COUNT", 20000)
        for entry_id, _fields in page:
            ms = int(entry_id.split("-")[0])
            if before is not None and ms - before > 20:
                beyond += 1
            if before is not None and ms - before > longest:
                longest, place = ms - before, ms - first
            if before is None:
                first = ms
            before = ms
        if len(page) < 20000:
            return longest, beyond, place
        at = "(" + page[-1][0]


def _measure(server, work, client, editor):
    started = threading.Event()

    def watch(_seconds, _running):
        if editor and not started.is_set():
            started.set()
            editor.start()

    figures = phase.run(server, work, client, 120 + work.events / 5_000, watch)
    if editor:
        editor.is_over = True
        editor.join()
        if editor.failure:
            raise SystemExit(f"bench: a reload failed: {editor.failure}")
        figures["reloads"] = len(editor.seconds)
        figures["reload_ms"] = sorted(editor.seconds)[len(editor.seconds) // 2] * 1000 if editor.seconds else 0
    figures["longest_gap_ms"], figures["gaps_beyond_20_ms"], figures["longest_gap_at_ms"] = _gaps(server.command)
    return figures


def run(options):
    runs = {"without": [], "with": []}
    folder = tempfile.mkdtemp(prefix="tidemill-bench-rules.")
    try:
        with Server() as server:
            client = Many(folder, options.rules)
            client.prepare()
            work = phase.Work(server, options.events, options.users, options.seed)
            print(f"{work.events:,} entries, {options.rules} rules; {options.runs} runs of each, in turn", flush=True)
            for number in range(1, options.runs + 1):
                for kind in runs:
                    editor = Editor(client, options.rules, options.reloads) if kind == "with" else None
                    figures = _measure(server, work, client, editor)
                    runs[kind].append(figures)
                    reloads = (f", {figures['reloads']} reloads of {figures['reload_ms']:.0f} ms (median)"
                               if editor else "")
                    print(f"  run {number}  {kind:8}{figures['events_per_second']:>9,.0f}/s, longest gap "
                          f"{figures['longest_gap_ms']} ms (at {figures['longest_gap_at_ms'] / 1000:.1f} s), "
                          f"{figures['gaps_beyond_20_ms']} beyond 20 ms{reloads}; lost 0, doubled 0", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = {kind: {"title": kind + " reloads", "median": report.medians(runs[kind]), "runs": runs[kind]}
               for kind in runs}
    print()
    report.print_goals([
        ("longest gap, ms", results["with"]["median"]["longest_gap_ms"], "<=", 20),
        ("events/s, of those without", report.ratio(results, "with", "without", "events_per_second"), ">=", 0.95),
        ("reloads", results["with"]["median"]["reloads"], ">=", options.reloads),
    ])
    report.write_json(options.json, NAME, {"events": options.events, "rules": options.rules,
                                           "reloads": options.reloads, "runs": options.runs}, results)
