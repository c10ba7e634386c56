"""How soon: from an event leaving its producer to its offer being visible to a blocked reader, at a steady pace.

The producer (producer.c) sends purchases only, so that every event yields an offer, each marked with the moment
before its write(); it never waits for replies, so a delay cannot slow the pace. The observer (observer.c) blocks in
XREAD on `offers` and looks at the clock when a reply is there. So the time holds: producer -> Redis -> client ->
Redis -> observer, the whole way. The first second (connections, JIT) is sent but not counted.

On few cores all four processes share them; "late" says how late after its due time the producer got to run (p99), as a
measure of how busy the machine was.
"""

import json
import subprocess

from . import build, clients, phase, process, report
from .arguments import positive
from .clients import Running
from .redis import Server

NAME = "latency"
HELP = "from XADD to the offer being visible, paced"
WARMUP_SECONDS = 1


def add_arguments(parser):
    parser.add_argument("--rate", type=positive, default=5_000, metavar="N", help="events a second (5,000)")
    parser.add_argument("--seconds", type=positive, default=10, metavar="N", help="how long each run counts (10)")


def run(options):
    chosen = clients.select(options.only, "a,b,tidemill")
    programs = build.c_program("producer"), build.c_program("observer")
    runs = {client.key: [] for client in chosen}
    print(f"{options.rate:,} events/s, every one yields an offer; {options.seconds} s counted after {WARMUP_SECONDS} s "
          f"of warm-up; {options.runs} runs of each, in turn", flush=True)
    for number in range(1, options.runs + 1):
        for client in chosen:
            with Server() as server:
                figures = _run_one(server, client, options, *programs)
            runs[client.key].append(figures)
            print(f"  run {number}  {client.key:8}  p50 {figures['p50_us']:>5}  p99 {figures['p99_us']:>6}"
                  f"  max {figures['max_us']:>7} µs", flush=True)
    results = {client.key: {"title": client.title, "median": report.medians(runs[client.key]),
                            "runs": runs[client.key]} for client in chosen}
    print("\nMedians; µs from XADD to the offer; CPU is µs an event:\n")
    report.table(
        ["", "p50", "p90", "p99", "p99.9", "max", "client CPU", "redis CPU", "late"],
        [[f"{client.key:8}  {client.title}"]
         + [f"{median[name]:,.0f}" for name in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")]
         + [f"{median['client_us']:.0f}", f"{median['server_us']:.0f}", f"{median['late_p99_us']:,.0f}"]
         for client in chosen for median in [results[client.key]["median"]]])
    report.print_goals([
        ("p50, of (b)'s", report.ratio(results, "tidemill", "b", "p50_us"), "<=", 1),
        ("p99, of (b)'s", report.ratio(results, "tidemill", "b", "p99_us"), "<=", 1),
    ])
    report.write_json(options.json, NAME, {"rate": options.rate, "seconds": options.seconds, "seed": options.seed,
                                           "runs": options.runs}, results)


def _run_one(server, client, options, producer, observer):
    sent = options.rate * (options.seconds + WARMUP_SECONDS)
    phase.make_empty_stream(server.command)
    running = Running(client, server)
    watcher = None
    try:
        phase.wait_ready(server, running)
        watcher = subprocess.Popen([observer, server.path, str(sent), str(options.rate * WARMUP_SECONDS)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        client_cpu, server_cpu = process.cpu_seconds(running.pid), process.cpu_seconds(server.pid)
        paced = subprocess.run([producer, server.path, str(options.rate), str(options.seconds + WARMUP_SECONDS),
                                str(options.seed)], stdout=subprocess.PIPE, text=True)
        if paced.returncode != 0:
            raise SystemExit("bench: the producer failed")
        seen, error = watcher.communicate()
        if watcher.returncode != 0:
            raise SystemExit(f"bench: {client.key}: {error.strip()}\n{running.output()}")
        client_cpu = process.cpu_seconds(running.pid) - client_cpu
        server_cpu = process.cpu_seconds(server.pid) - server_cpu
        offers = server.command("XLEN", "offers")
        if offers != sent:
            raise SystemExit(f"bench: WRONG RESULT of {client.key}: {offers} offers of {sent} purchases")
        paced = json.loads(paced.stdout)
        return {**json.loads(seen), **paced, "client_us": client_cpu / sent * 1e6, "server_us": server_cpu / sent * 1e6}
    finally:
        if watcher and watcher.poll() is None:
            watcher.kill()
            watcher.wait()
        running.stop()
