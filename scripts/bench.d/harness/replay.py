"""`tidemill replay` over the preloaded stream: from Redis, from a file, of two versions; beside who works live.

In each round, the plain C client (b) and a live Tidemill do the pricing work as in the mode `throughput`, and then
replays run over the same stream: `--summary` from Redis, the same from the file that `tidemill tail` made of the
stream, every effect as a JSON line, and `--against` another version of the rule. What a replay finds is compared with
the oracle (how many offers, and with --against that each discounted one differs). Time is that of the whole command,
its start included; CPU time is of all its processes, and Redis' beside it.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time

from . import build, clients, phase, process, report
from .arguments import positive
from .redis import Server

NAME = "replay"
HELP = "back-tests of 1,000,000 events: from Redis, from a file, of two versions; beside live clients"


def add_arguments(parser):
    parser.add_argument("--events", type=positive, default=1_000_000, metavar="N", help="entries preloaded (1,000,000)")
    parser.add_argument("--users", type=positive, default=10_000, metavar="N", help="distinct user_id (10,000)")


class Replay:
    """One row of the table: the words of a command, and what its output must say."""

    def __init__(self, key, title, words, check, is_of_file=False):
        self.key, self.title, self.words, self.check, self.is_of_file = key, title, words, check, is_of_file


def _summary_is_right(work, output):
    rules = json.loads(output)["rules"]
    return rules[0]["outputs"][0]["count"] == work.expected["offers"]


def _lines_are_right(work, output):
    return output.count(b"\n") == work.expected["offers"]


def _difference_is_right(work, output):
    rule = json.loads(output)["rules"][0]
    return rule["changed"] > 0 and rule["same"] + rule["changed"] == work.expected["offers"]


def _other_rules(folder):
    """The pricing rule with a larger discount for some."""
    rules = os.path.join(folder, "rules")
    os.mkdir(rules)
    with open(os.path.join(build.SOURCES, "rules", "pricing.lua")) as file:
        text = file.read()
    assert "vip = 0.15" in text
    with open(os.path.join(rules, "pricing.lua"), "w") as file:
        file.write(text.replace("vip = 0.15", "vip = 0.20"))
    return rules


def _measure(server, work, replay, file):
    words = [clients.TIDEMILL, "replay", "--rules", clients.Tidemill.rules, "--log-level", "warn"] + replay.words
    words += ["--file", file] if replay.is_of_file else ["--redis", "unix://" + server.path]
    server_cpu, start = process.cpu_seconds(server.pid), time.monotonic()
    with tempfile.TemporaryFile() as output:
        running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, cwd=server.folder)
        peak, pid = 0, 0
        while pid == 0:
            pid, status, usage = os.wait4(running.pid, os.WNOHANG)
            peak = max(peak, process.peak_rss_mib(running.pid) if pid == 0 else 0)
            time.sleep(0 if pid else 0.01)
        running.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        output.seek(0)
        text = output.read()
    if running.returncode not in (0, 1 if "--against" in replay.words else 0) or not replay.check(work, text):
        raise SystemExit(f"bench: WRONG RESULT of {replay.key} (exit status {running.returncode}): {text[:500]!r}")
    return {
        "events_per_second": work.events / seconds,
        "seconds": seconds,
        "client_us": (usage.ru_utime + usage.ru_stime) / work.events * 1e6,
        "server_us": (process.cpu_seconds(server.pid) - server_cpu) / work.events * 1e6,
        "peak_rss_mib": peak,
    }


def _write_file(server, path):
    with open(path, "wb") as file:
        subprocess.run([clients.TIDEMILL, "tail", "events", "--from", "start", "--no-follow", "--redis",
                        "unix://" + server.path], stdout=file, check=True, cwd=server.folder)


def run(options):
    live = clients.select(options.only, "b,tidemill")
    folder = tempfile.mkdtemp(prefix="tidemill-bench-rules.")
    replays = [
        Replay("redis", "replay --summary, from Redis", ["--summary", "--json"], _summary_is_right),
        Replay("lines", "replay, every effect as a JSON line", [], _lines_are_right),
        Replay("against", "replay --against, from Redis", ["--against", _other_rules(folder), "--json"],
               _difference_is_right),
        Replay("file", "replay --summary --file", ["--summary", "--json"], _summary_is_right, is_of_file=True),
    ]
    runs = {row.key: [] for row in live + replays}
    try:
        with Server() as server:
            work = phase.Work(server, options.events, options.users, options.seed)
            path = os.path.join(folder, "events.jsonl")
            print(f"{work.events:,} entries, {work.expected['offers']:,} purchases; {options.runs} rounds", flush=True)
            for number in range(1, options.runs + 1):
                for client in live:
                    runs[client.key].append(phase.run(server, work, client, 60 + work.events / 10_000))
                work.reset()
                server.command("DEL", "events")
                server.command("RENAME", phase.LOADED, "events")
                if not os.path.exists(path):
                    _write_file(server, path)
                for replay in replays:
                    runs[replay.key].append(_measure(server, work, replay, path))
                print(f"  round {number}: " + ", ".join(
                    f"{key} {figures[-1]['events_per_second']:,.0f}/s" for key, figures in runs.items()), flush=True)
    finally:
        shutil.rmtree(folder)
    results = {row.key: {"title": row.title, "median": report.medians(runs[row.key]), "runs": runs[row.key]}
               for row in live + replays}
    _print(live + replays, results)
    report.write_json(options.json, NAME, {"events": options.events, "users": options.users, "seed": options.seed,
                                           "runs": options.runs}, results)


def _print(rows, results):
    table = []
    for row in rows:
        median = results[row.key]["median"]
        table.append([row.title, f"{median['events_per_second']:,.0f}",
                      report.ratio_text(report.ratio(results, row.key, "b", "events_per_second")),
                      f"{median['client_us']:.2f}", f"{median['server_us']:.2f}", f"{median['peak_rss_mib']:.0f}"])
    print("\nMedians; µs are CPU time an event; x is the ratio to (b) in the same round, its median:\n")
    report.table(["", "events/s", "x", "client µs", "redis µs", "peak MiB"], table)
