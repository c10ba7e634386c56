"""The Yahoo Streaming Benchmark: views of ads, joined to campaigns by a table in Redis, counted in windows of 10 s.

The producer (ads.c) writes ad events (user_id, page_id, ad_id, ad_type, event_type, event_time, ip_address) at a steady
rate, stamped with the wall clock; 100 campaigns have 10 ads each; a third are views. Each closed window of each campaign
is written to Redis: into the hash ysb:CAMPAIGN, and as an entry of `results`, on which a reader (watch.c) blocks and looks
at the clock. Streams are trimmed behind the engine's position, so memory is bounded by its lag.

Plans, each a folder of two rules in scripts/bench.d/ysb:

  join    as Yahoo's: each view is filtered and joined, and goes on, as an entry of `views`, to a rule that counts by
          campaign. What the table said is kept in memory, as Yahoo's own programs do, since ads stay in their campaign.
  lookup  the same, but every view asks Redis (HGET) for its campaign.
  early   counts by ad, and joins when the window closes: the same counts, since an ad has one campaign, with a lookup per
          ad and window instead of per view. The plan that an optimizer would choose.

Why two rules: the key of a rule, by which it counts, is known before its handler runs, and so cannot come from a lookup.

Latency of a result: from the write() that brought the first event at or beyond the end of the window (of all events, not
only of views), to the result being read by the blocked reader; so it holds the way through Redis, and for join and lookup
also the wait for the first view beyond the end. "from end" is from the end of the window by the clock. Windows that no
event closed (the last ones of a run: they close by idleness) are checked but not in the latencies.

--kills N: N times during the run SIGKILL strikes at the moment a window ends, in turn the whole engine, which is started
again at once, and its workers alone, which its supervisor replaces. Latencies then hold the outages: an engine that died
whole is replaced when its lease has run out (5 s).

Every count of every campaign and window, in `results` and in the hashes, must be what the producer counted, and each of
`results` there once; any difference ends the benchmark with exit status 1.
"""

import json
import os
import random as randoms
import subprocess
import time
import uuid

from . import build, phase, process, report
from .arguments import positive
from .clients import Running, TidemillWith
from .redis import Server

NAME = "ysb"
HELP = "Yahoo Streaming Benchmark: events/s sustained, time to the result of a window, exact counts, with kills"

WINDOW_MS = 10_000
CAMPAIGNS, ADS = 100, 10
TICK_SECONDS = 0.025
TRIM_ENTRIES = 50_000  # the most that one XTRIM frees: it holds up Redis meanwhile
DONE_SECONDS = 60  # after the last event, at most: idleness, leases, what is left

PLANS = [
    TidemillWith("joined view by view, table kept in memory", "ysb", "join"),
    TidemillWith("joined view by view, HGET for each", "ysb", "lookup"),
    TidemillWith("counted by ad, then joined", "ysb", "early"),
]


def add_arguments(parser):
    parser.add_argument("--rate", type=positive, default=200_000, metavar="N", help="events a second (200,000)")
    parser.add_argument("--seconds", type=positive, default=60, metavar="N", help="how long the producer works (60)")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="how often the engine is killed meanwhile (0)")
    parser.set_defaults(runs=1)


class Streams:
    """The streams between producer and result: where the engine is on each, and trimming behind it."""

    NAMES = ("ads", "views")

    def __init__(self, redis):
        self._redis = redis
        self.lags_ms = []

    def offset(self, stream):
        return self._redis("HGET", "tidemill:bench:ctl", f"offset:{stream}") or "0-0"

    def last_id(self, stream):
        fields = self._redis("XINFO", "STREAM", stream)
        return dict(zip(fields[::2], fields[1::2]))["last-generated-id"]

    def tick(self):
        """Notes the lag in ms (the age of the position while there is more behind it), and trims."""
        for stream in self.NAMES:
            offset = self.offset(stream)
            if offset != "0-0":
                self._redis("XTRIM", stream, "MINID", "~", offset, "LIMIT", TRIM_ENTRIES)
            if stream == "ads":
                lag = self.last_id(stream) != offset and time.time() * 1000 - int(offset.split("-")[0])
                self.lags_ms.append(max(0.0, float(lag)) if offset != "0-0" else 0.0)

    def are_read(self):
        return all(self.offset(stream) == self.last_id(stream) for stream in self.NAMES)


class Engine:
    """The engine through all its deaths."""

    def __init__(self, server, plan):
        self._server, self._plan = server, plan
        self._running = Running(plan, server)
        self.peak_rss_mib = 0
        phase.wait_ready(server, self._running)

    def strike(self, is_whole):
        self._running.kill(is_whole)
        if is_whole:
            self._running.stop()
            self._running = Running(self._plan, self._server)

    def look(self):
        self._running.check_alive()
        self.peak_rss_mib = max(self.peak_rss_mib, process.rss_mib(self._running.pid))

    def cpu_seconds(self):
        return process.cpu_seconds(self._running.pid)

    def output(self):
        return self._running.output()

    def stop(self):
        self._running.stop()


def run(options):
    plans = _select(options.only)
    programs = build.c_program("ads"), build.c_program("watch")
    runs = {plan.key: [] for plan in plans}
    print(f"{options.rate:,} events/s for {options.seconds} s, {CAMPAIGNS} campaigns of {ADS} ads, windows of "
          f"{WINDOW_MS // 1000} s, {options.kills} kills; {options.runs} runs of each, in turn", flush=True)
    for number in range(1, options.runs + 1):
        for plan in plans:
            with Server() as server:
                figures = _run_one(server, plan, options, number, *programs)
            runs[plan.key].append(figures)
            print(f"  run {number}  {plan.key:7}{figures['events_per_second']:>9,.0f}/s  lag at most "
                  f"{figures['lag_max_ms']:,.0f} ms  results p50 {figures['p50_ms']:.1f} p99 {figures['p99_ms']:.1f} ms  "
                  f"{figures['results']:,} counts exact{_noise(figures)}", flush=True)
    results = {plan.key: {"title": plan.title, "median": report.medians(runs[plan.key]), "runs": runs[plan.key]}
               for plan in plans}
    _print(plans, results, options)
    report.write_json(options.json, NAME + ("_kills" if options.kills else ""),
                      {"rate": options.rate, "seconds": options.seconds, "kills": options.kills, "seed": options.seed,
                       "runs": options.runs}, results)


def _select(only):
    known = {plan.key: plan for plan in PLANS}
    names = only.split(",") if only else list(known)
    for name in names:
        if name not in known:
            raise SystemExit(f"bench: --only {name}: known are {', '.join(known)}")
        known[name].prepare()
    return [known[name] for name in names]


def _noise(figures):
    others = figures["others_cpus"]
    return f"  (others used {others:.2f} CPUs meanwhile)" if others > 0.1 else ""


def _make_table(redis, seed):
    """The hash campaigns: ad -> campaign."""
    random = randoms.Random(seed)
    for _ in range(CAMPAIGNS):
        campaign = str(uuid.UUID(int=random.getrandbits(128), version=4))
        for _ in range(ADS):
            redis("HSET", "campaigns", str(uuid.UUID(int=random.getrandbits(128), version=4)), campaign)


def _strikes(options, seed):
    """When to kill, in seconds of the wall clock: at ends of windows and up to 100 ms behind, else evenly spread. Not in the
    last fifth of the run, so that what an outage left to do is done by the end of it, or not."""
    random = randoms.Random(seed)
    begin, span = time.time() + 2, options.seconds * 0.8 - 2
    times = []
    for n in range(options.kills):
        at = begin + span * (n + random.random()) / options.kills
        end = round(at * 1000 / WINDOW_MS) * WINDOW_MS / 1000 + random.random() * 0.1
        times.append(end if begin < end < begin + span and all(abs(end - t) > 1 for t in times) else at)
    return sorted(times)


def _run_one(server, plan, options, number, ads, watch):
    redis = server.command
    _make_table(redis, options.seed)
    for stream in Streams.NAMES:
        redis("XGROUP", "CREATE", stream, "bench", "0", "MKSTREAM")
        redis("XGROUP", "DESTROY", stream, "bench")
    streams = Streams(redis)
    engine = Engine(server, plan)
    watcher = producer = None
    try:
        seen, told = (open(os.path.join(server.folder, name), "w+") for name in ("seen", "told"))
        watcher = subprocess.Popen([watch, server.path, "results"], stdin=subprocess.PIPE, stdout=seen,
                                   stderr=subprocess.PIPE, text=True)
        before = _usage(server, engine)
        began = time.monotonic()
        producer = subprocess.Popen([ads, server.path, str(options.rate), str(options.seconds),
                                     str(options.seed + number), str(WINDOW_MS)], stdout=told)
        drain_seconds, after = _work(streams, engine, producer, options, number, server)
        seconds = time.monotonic() - began
        _, error = watcher.communicate()
        if watcher.returncode != 0:
            raise SystemExit(f"bench: {plan.key}: {error.strip()}\n{engine.output()}")
        oracle = json.loads(_text_of(told))
        arrived = [json.loads(line) for line in _text_of(seen).splitlines()]
        _verify(redis, plan, oracle, arrived)
        return _figures(oracle, arrived, streams, engine, options, before, after, seconds, drain_seconds)
    finally:
        for helper in (watcher, producer):
            if helper and helper.poll() is None:
                helper.kill()
                helper.wait()
        engine.stop()


def _text_of(file):
    with file:
        file.seek(0)
        return file.read()


def _usage(server, engine):
    return {"machine": process.machine_cpu_seconds(), "mine": time.process_time(), "client": engine.cpu_seconds(),
            "server": process.cpu_seconds(server.pid), "producer": 0.0}


def _work(streams, engine, producer, options, number, server):
    """Until every event is processed and every window closed. Returns how long the engine still had to read when the
    producer was done, and the usage at that time."""
    strikes = _strikes(options, options.seed + number)
    producer_cpu, struck = 0.0, 0
    while producer.poll() is None:
        streams.tick()
        engine.look()
        producer_cpu = process.cpu_seconds(producer.pid) or producer_cpu
        if strikes and time.time() >= strikes[0]:
            strikes.pop(0)
            engine.strike(is_whole=struck % 2 == 0)
            struck += 1
        time.sleep(TICK_SECONDS)
    if producer.returncode != 0:
        raise SystemExit("bench: the producer failed")
    ended = time.monotonic()
    last = streams.last_id("ads")
    while streams.offset("ads") != last:
        _wait(streams, engine, ended, "did not read all events")
    drain_seconds = time.monotonic() - ended
    after = {**_usage(server, engine), "producer": producer_cpu}
    redis = server.command
    while redis("HLEN", "tidemill:bench:windows:count") or not streams.are_read():
        _wait(streams, engine, ended, "did not close all windows")
    return drain_seconds, after


def _wait(streams, engine, since, failure):
    if time.monotonic() - since > DONE_SECONDS:
        raise SystemExit(f"bench: the engine {failure} within {DONE_SECONDS} s:\n{engine.output()}")
    streams.tick()
    engine.look()
    time.sleep(TICK_SECONDS)


def _verify(redis, plan, oracle, arrived):
    """All counts, in the hashes and on `results`, and no others, must be what the producer counted."""
    expected = {(campaign, window["start"]): count for window in oracle["windows"]
                for campaign, count in zip(oracle["campaigns"], window["views"]) if count}
    summed, times = {}, {}
    for entry in arrived:
        key = entry["campaign"], int(entry["start"])
        summed[key] = summed.get(key, 0) + entry["n"]
        times[key] = times.get(key, 0) + 1
    kept = {}
    for campaign in oracle["campaigns"]:
        fields = redis("HGETALL", "ysb:" + campaign)
        kept.update({(campaign, int(start)): int(n) for start, n in zip(fields[::2], fields[1::2])})
    wrong = [f"  {campaign} {start}: {n:,} views; results say {summed.get((campaign, start))}, the hash "
             f"{kept.get((campaign, start))}" for (campaign, start), n in expected.items()
             if summed.get((campaign, start)) != n or kept.get((campaign, start)) != n]
    wrong += [f"  {key}: a window that has no views" for key in {**summed, **kept} if key not in expected]
    most = ADS if plan.key == "early" else 1
    wrong += [f"  {key}: {n} results" for key, n in times.items() if n > most]
    wrong += [f"  a dead letter: {letter}" for letter in _letters(redis) if letter["reason"] != "unverified"]
    if wrong:
        raise SystemExit(f"bench: WRONG RESULT of {plan.key}: {len(wrong):,} differences of {len(expected):,} counts\n"
                         + "\n".join(wrong[:10]))


def _letters(redis):
    """Dead letters. One that says `unverified` tells of a crash between two commits, and of no difference."""
    return [dict(zip(fields[::2], fields[1::2])) for _, fields in redis("XRANGE", "tidemill:bench:dlq", "-", "+")]


def _percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _figures(oracle, arrived, streams, engine, options, before, after, seconds, drain_seconds):
    visible_us = {}
    for entry in arrived:
        key = entry["campaign"], int(entry["start"])
        visible_us[key] = max(visible_us.get(key, 0), entry["at_us"])
    passed = {window["start"]: window["passed_us"] for window in oracle["windows"]}
    closed = [(at, start) for (_, start), at in visible_us.items() if passed[start]]
    results = [(at - passed[start]) / 1000 for at, start in closed]
    from_end = [at / 1000 - start - WINDOW_MS for at, start in closed]
    used = {name: after[name] - before[name] for name in before}
    others = used["machine"] - used["mine"] - used["client"] - used["server"] - used["producer"]
    sent = oracle["sent"]
    return {
        # What was processed by the time the producer and then the engine were done.
        "events_per_second": sent / (oracle["seconds"] + drain_seconds),
        "produced_per_second": sent / oracle["seconds"],
        "drain_ms": drain_seconds * 1000,
        "lag_p50_ms": _percentile(streams.lags_ms, 0.5), "lag_p99_ms": _percentile(streams.lags_ms, 0.99),
        "lag_max_ms": max(streams.lags_ms),
        "results": len(visible_us), "closed_by_events": len(closed),
        "p50_ms": _percentile(results, 0.5), "p99_ms": _percentile(results, 0.99), "max_ms": max(results, default=0.0),
        "end_p50_ms": _percentile(from_end, 0.5), "end_p99_ms": _percentile(from_end, 0.99),
        "producer_late_p99_ms": oracle["late_p99_us"] / 1000,
        # A killed process takes its figures along.
        "client_us": 0.0 if options.kills else used["client"] / sent * 1e6,
        "server_us": used["server"] / sent * 1e6, "producer_us": used["producer"] / sent * 1e6,
        "peak_rss_mib": engine.peak_rss_mib,
        "others_cpus": max(0.0, others / seconds) if not options.kills else 0.0,
    }


def _print(plans, results, options):
    rows = []
    for plan in plans:
        m = results[plan.key]["median"]
        rows.append([f"{plan.key:7}  {plan.title}", f"{m['events_per_second']:,.0f}", f"{m['lag_p50_ms']:,.0f}",
                     f"{m['lag_max_ms']:,.0f}", f"{m['p50_ms']:,.1f}", f"{m['p99_ms']:,.1f}", f"{m['max_ms']:,.1f}",
                     f"{m['end_p50_ms']:,.1f}", f"{m['end_p99_ms']:,.1f}",
                     "-" if options.kills else f"{m['client_us']:.2f}", f"{m['server_us']:.2f}",
                     f"{m['producer_us']:.2f}", f"{m['producer_late_p99_ms']:.1f}", f"{m['peak_rss_mib']:.0f}"])
    print("\nMedians; ms from the watermark's step to the result, and from the window's end; CPU is µs an event:\n")
    report.table(["", "events/s", "lag p50", "max", "result p50", "p99", "max", "from end p50", "p99", "client µs",
                  "redis µs", "producer µs", "late", "peak MiB"], rows)
    first = results[plans[0].key]["median"]
    report.print_goals([
        ("events/s, of the rate", first["events_per_second"] / options.rate, ">=", 0.99),
        ("results, p99 ms", None if options.kills else first["p99_ms"], "<=", 100),
    ])
