"""Timers: what they cost, how many a second are set, replaced, cancelled and fired, what one takes in Redis, how late.

Four parts, with the rules of scripts/bench.d/timers; everything that fires is compared with an oracle (carts.c), each once,
in the order of their due times, and any difference ends the benchmark with exit status 1:

  cost      1,000,000 events of carts (three adds to a pay, 100,000 users, 3 hours of event IDs): a rule that keeps a total
            per user, with and without a reminder after half an hour: an add sets or replaces it, a pay cancels it, and
            what is due fires, emitting an entry. In turn, several runs.
  phases    N timers (--pending, 1,000,000) of a rule that does nothing else: all set, all replaced, half cancelled, the rest
            fired, each in scattered order. Redis memory by used_memory, before and after all are set.
  lateness  live: a timer is late by the ID of the entry that it emits (the commit, by Redis' own clock, whole ms) less its
            due time, or by when a blocked reader (watch.c) had that entry. Quiet: 1,000 timers over 10 s and no entry at
            all. Light: 500 entries a second, each setting one. Burst: 100,000 timers due in the same millisecond.

Cost and phases work on preloaded streams, whose IDs lie so far in the past that all timers are overdue by the wall clock:
so nothing waits for time to pass. Time counts from the first commit, so start-up is in no figure.
"""

import json
import os
import random as randoms
import subprocess
import time

from . import build, process, report
from .arguments import positive
from .clients import Running, TidemillWith
from .redis import Server

NAME = "timers"
HELP = "events/s with and without timers; setting, replacing, cancelling, firing; memory of one; lateness"

POLL_SECONDS = 0.003
HOUR_MS = 3_600_000
DELAY_MS = HOUR_MS // 2  # of timers/with
PARTS = ("cost", "phases", "lateness")
PHASES = ("set", "replace", "cancel", "fire")

WITH = TidemillWith("total and reminder", "timers", "with")
WITHOUT = TidemillWith("total only", "timers", "without")
DUE = TidemillWith("one timer a user, nothing else", "timers", "due")


def add_arguments(parser):
    parser.add_argument("--events", type=positive, default=1_000_000, metavar="N", help="of the cost part (1,000,000)")
    parser.add_argument("--users", type=positive, default=100_000, metavar="N", help="of the cost part (100,000)")
    parser.add_argument("--pending", type=positive, default=1_000_000, metavar="N",
                        help="timers of the phases (1,000,000); 10,000,000 take 6 GB of Redis")
    parser.add_argument("--burst", type=positive, default=100_000, metavar="N", help="timers due at once (100,000)")


def run(options):
    parts = options.only.split(",") if options.only else PARTS
    for part in parts:
        if part not in PARTS:
            raise SystemExit(f"bench: --only {part}: known are {', '.join(PARTS)}")
    WITH.prepare()
    results = {}
    if "cost" in parts:
        results.update(_cost(options))
    if "phases" in parts:
        results["phases"] = _phases(options)
    if "lateness" in parts:
        results["lateness"] = _lateness(options)
    phases, lateness = results.get("phases", {}).get("median", {}), results.get("lateness", {}).get("median", {})
    report.print_goals([
        ("quiet: late p99 ms", lateness.get("quiet_late_p99_ms"), "<=", 10),
        ("light: late p99 ms", lateness.get("light_late_p99_ms"), "<=", 10),
        ("engine's peak MiB", phases.get("peak_rss_mib"), "<=", 64),
    ])
    report.write_json(options.json, NAME, {"events": options.events, "users": options.users, "seed": options.seed,
                                           "pending": options.pending, "burst": options.burst, "runs": options.runs},
                      results)


def _say(words, **options):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"bench: {os.path.basename(words[0])} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def _place(entry_id):
    ms, _, seq = (entry_id or "0-0").partition("-")
    return int(ms), int(seq or 0)


def _queue(client):
    return f"tidemill:bench:timers:{'due' if client is DUE else 'carts'}:wall"


def _verify(server, client, expected):
    redis = server.command
    deadline = time.monotonic() + 60
    while redis("ZCARD", _queue(client)):
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: {client.key}: timers are still pending that are long due")
        time.sleep(POLL_SECONDS)
    found = _say([build.c_program("fired"), server.path, "fired"])
    letters = redis("XLEN", "tidemill:bench:dlq")
    if found["fired"] != expected or found["disordered"] or letters:
        raise SystemExit(f"bench: WRONG RESULT of {client.key}: {found}, {letters} dead letters; must have fired: {expected}")


class Work:
    """An engine at work on a preloaded stream, from its first commit on."""

    def __init__(self, server, client, stream, seconds):
        self._redis, self._server, self._stream = server.command, server, stream
        self.running = Running(client, server)
        self._deadline = time.monotonic() + seconds
        self.wait("0-1")
        self.began = time.monotonic()
        self._cpu = process.cpu_seconds(self.running.pid), process.cpu_seconds(server.pid)
        self.peak_rss_mib = 0

    def wait(self, entry_id, watch=None):
        """Until everything up to the entry is committed; returns when."""
        looked = 0
        while _place(self._redis("HGET", "tidemill:bench:ctl", f"offset:{self._stream}")) < _place(entry_id):
            now = time.monotonic()
            self.running.check_alive()
            if now > self._deadline:
                raise SystemExit("bench: the engine did not finish in time:\n" + self.running.output())
            if watch and now > looked + 0.5:
                looked = now
                watch(process.rss_mib(self.running.pid))
            time.sleep(POLL_SECONDS)
        return time.monotonic()

    def cpu_seconds(self):
        """Of engine and Redis, since the first commit."""
        return (process.cpu_seconds(self.running.pid) - self._cpu[0], process.cpu_seconds(self._server.pid) - self._cpu[1])


# ---- cost ----


def _cost(options):
    runs = {client.key: [] for client in (WITH, WITHOUT)}
    for number in range(1, options.runs + 1):
        for client in (WITH, WITHOUT):
            with Server() as server:
                runs[client.key].append(_cost_once(server, client, options))
            figures = runs[client.key][-1]
            fired = f", {figures['fired']:,} fired, exactly" if client is WITH else ""
            print(f"  run {number}  {client.key:8}{figures['events_per_second']:>9,.0f}/s{fired}", flush=True)
    results = {client.key: {"title": client.title, "median": report.medians(runs[client.key]), "runs": runs[client.key]}
               for client in (WITH, WITHOUT)}
    print("\nMedians; x is the ratio in the same round, its median:\n")
    report.table(["", "events/s", "x", "engine µs", "redis µs", "peak MiB"], [
        [f"{key:8}  {results[key]['title']}", f"{m['events_per_second']:,.0f}",
         report.ratio_text(report.ratio(results, key, "without", "events_per_second")),
         f"{m['client_us']:.2f}", f"{m['server_us']:.2f}", f"{m['peak_rss_mib']:.0f}"]
        for key in results for m in [results[key]["median"]]])
    m = results["with"]["median"]
    print(f"\n{m['sets']:,.0f} timers set or replaced, {m['cancels']:,.0f} cancelled, {m['fired']:,.0f} fired\n", flush=True)
    return results


def _cost_once(server, client, options):
    first_ms = int(time.time() * 1000) - 4 * HOUR_MS
    load = _say([build.c_program("carts"), server.path, "mixed", str(first_ms), str(options.events), str(options.users),
                 str(options.seed), str(3 * HOUR_MS), str(DELAY_MS)])
    work = Work(server, client, "carts", 60 + options.events / 5_000)
    try:
        seconds = work.wait(load["last_id"]) - work.began
        client_cpu, server_cpu = work.cpu_seconds()
        if client is WITH:
            _verify(server, client, load["fired"])
        return {"events_per_second": options.events / seconds, "client_us": client_cpu / options.events * 1e6,
                "server_us": server_cpu / options.events * 1e6, "peak_rss_mib": process.peak_rss_mib(work.running.pid),
                "sets": load["sets"], "cancels": load["cancels"], "fired": load["fired"]["count"]}
    finally:
        work.running.stop()


# ---- phases ----


def _phases(options):
    runs, curve = [], []
    for number in range(1, options.runs + 1):
        with Server() as server:
            curve = []
            runs.append(_phases_once(server, options, curve))
        m = runs[-1]
        print(f"  run {number}  set {m['set_per_second']:,.0f}/s  replaced {m['replace_per_second']:,.0f}/s  cancelled "
              f"{m['cancel_per_second']:,.0f}/s  fired {m['fire_per_second']:,.0f}/s, {m['fired']:,} exactly", flush=True)
    m = report.medians(runs)
    print(f"\n{options.pending:,} timers, half of them cancelled; medians; CPU is µs a timer:\n")
    report.table(["", "timers", "a second", "engine µs", "redis µs", "engine MiB"], [
        [name, f"{m[name + '_timers']:,.0f}", f"{m[name + '_per_second']:,.0f}", f"{m[name + '_client_us']:.2f}",
         f"{m[name + '_server_us']:.2f}", f"{m[name + '_rss_mib']:.0f}"] for name in PHASES])
    print(f"\n{m['bytes_each']:.0f} bytes of Redis a pending timer; the engine's peak: {m['peak_rss_mib']:.0f} MiB")
    print("\nengine's resident MiB over the run: " + " ".join(f"{mib:.0f}" for mib in curve[::len(curve) // 40 + 1]) + "\n",
          flush=True)
    return {"title": DUE.title, "median": m, "runs": runs, "rss_mib_by_half_second": curve}


def _phases_once(server, options, curve):
    pending = options.pending
    entries = pending * 2 + pending // 2
    first_ms = int(time.time() * 1000) - 2 * HOUR_MS
    load = _say([build.c_program("carts"), server.path, "phases", str(first_ms), str(pending), str(pending),
                 str(pending // 2), str(HOUR_MS)])
    memory = int(server.command.info("memory")["used_memory"])
    work = Work(server, DUE, "orders", 120 + entries / 2_000)
    try:
        figures, before, cpu_before = {}, work.began, (0.0, 0.0)
        for phase in PHASES:
            part = load.get(phase, {"entries": load["fired"]["count"], "last_id": load["last_id"]})
            now = work.wait(part["last_id"], curve.append)
            cpu = work.cpu_seconds()
            figures[phase + "_timers"] = part["entries"]
            figures[phase + "_per_second"] = part["entries"] / (now - before)
            figures[phase + "_client_us"], figures[phase + "_server_us"] = (
                (after - earlier) / part["entries"] * 1e6 for after, earlier in zip(cpu, cpu_before))
            figures[phase + "_rss_mib"] = process.rss_mib(work.running.pid)
            if phase == "set":
                figures["bytes_each"] = (int(server.command.info("memory")["used_memory"]) - memory) / pending
            before, cpu_before = now, cpu
        figures["peak_rss_mib"] = process.peak_rss_mib(work.running.pid)
        figures["fired"] = load["fired"]["count"]
        _verify(server, DUE, load["fired"])
        return figures
    finally:
        work.running.stop()


# ---- lateness ----


def _quiet(redis, _options):
    """1,000 timers, one every 10 ms, and no entry from then on."""
    begin = int(time.time() * 1000) + 1000
    return _send(redis, [{"user_id": f"q{n}", "at": begin + 10 * n} for n in range(1000)])


def _light(redis, options):
    """500 entries a second for 10 s; each sets a timer for 0.2 to 2.2 s later."""
    random, begin = randoms.Random(options.seed), time.monotonic()
    for n in range(5000):
        time.sleep(max(0.0, begin + n / 500 - time.monotonic()))
        _send(redis, [{"user_id": f"l{n}", "delay": random.randrange(200, 2200)}])
    return 5000


def _burst(redis, options):
    """All due in the same millisecond, two seconds after the last has been set."""
    at = int(time.time() * 1000) + 4000 + options.burst // 20
    return _send(redis, [{"user_id": f"b{n}", "at": at} for n in range(options.burst)])


def _send(redis, events):
    for first in range(0, len(events), 200):
        redis.pipeline([("XADD", "orders", "*", "data", json.dumps(event)) for event in events[first:first + 200]])
    return len(events)


def _lateness(options):
    runs = []
    for number in range(1, options.runs + 1):
        figures = {}
        for name, send in (("quiet", _quiet), ("light", _light), ("burst", _burst)):
            with Server() as server:
                figures.update({f"{name}_{figure}": value
                                for figure, value in _lateness_once(server, send, options).items()})
        runs.append(figures)
        print(f"  run {number}  late p99: quiet {figures['quiet_late_p99_ms']} ms, light {figures['light_late_p99_ms']} ms, "
              f"burst of {options.burst:,} {figures['burst_late_p99_ms']} ms", flush=True)
    m = report.medians(runs)
    print("\nMedians; ms after due, by the commit and by a reader:\n")
    report.table(["", "timers", "p50", "p99", "max", "read p50", "p99", "max"], [
        [name, f"{m[name + '_timers']:,.0f}"]
        + [f"{m[f'{name}_{figure}']:,.1f}" for figure in ("late_p50_ms", "late_p99_ms", "late_max_ms", "read_p50_ms",
                                                         "read_p99_ms", "read_max_ms")]
        for name in ("quiet", "light", "burst")])
    return {"title": "lateness", "median": m, "runs": runs}


def _lateness_once(server, send, options):
    redis = server.command
    redis("XGROUP", "CREATE", "orders", "bench", "0", "MKSTREAM")
    running = Running(DUE, server)
    try:
        with open(os.path.join(server.folder, "seen"), "w+") as seen:
            watcher = subprocess.Popen([build.c_program("watch"), server.path, "fired"], stdin=subprocess.PIPE, stdout=seen)
            count = send(redis, options)
            deadline = time.monotonic() + 60 + count / 5_000
            while redis("XLEN", "fired") < count or redis("ZCARD", _queue(DUE)):
                running.check_alive()
                if time.monotonic() > deadline:
                    raise SystemExit(f"bench: of {count:,} timers {redis('XLEN', 'fired'):,} fired:\n" + running.output())
                time.sleep(0.02)
            watcher.stdin.close()
            watcher.wait()
            seen.seek(0)
            fired = [json.loads(line) for line in seen]
    finally:
        running.stop()
    if len(fired) != count or len({entry["user_id"] for entry in fired}) != count:
        raise SystemExit(f"bench: WRONG RESULT: of {count:,} timers {len(fired):,} fired")
    late = sorted(_place(entry["id"])[0] - entry["due"] for entry in fired)
    read = sorted(entry["at_us"] / 1000 - entry["due"] for entry in fired)
    return {"timers": count,
            **{f"{name}_{share}_ms": values[min(count - 1, int(count * part))]
               for name, values in (("late", late), ("read", read))
               for share, part in (("p50", 0.5), ("p99", 0.99), ("max", 1))}}
