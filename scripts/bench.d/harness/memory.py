"""How much memory many keys take: every event is a purchase of another user."""

from . import clients, phase, process, report
from .arguments import positive
from .redis import Server

NAME = "memory"
HELP = "resident memory over 5,000,000 distinct keys (Redis itself needs about 2.5 GB meanwhile)"


def add_arguments(parser):
    parser.add_argument("--keys", type=positive, default=5_000_000, metavar="N", help="distinct keys (5,000,000)")
    parser.set_defaults(runs=1)


def run(options):
    chosen = clients.select(options.only or "tidemill", None)
    results = {}
    with Server() as server:
        work = phase.Work(server, options.keys, options.keys, options.seed, "purchases", "each")
        print(f"{work.events:,} purchases, every one by another user", flush=True)
        for client in chosen:
            runs, curve = [], []
            for _ in range(options.runs):
                curve = []
                runs.append(phase.run(server, work, client, 60 + work.events / 10_000, _sampler(curve)))
            results[client.key] = {"title": client.title, "median": report.medians(runs), "runs": runs,
                                   "rss_mib_by_second": curve}
            redis_mib = int(server.command.info("memory")["used_memory_peak"]) / 2**20
            print(f"  {client.key}: results exact; redis-server peaked at {redis_mib:,.0f} MiB", flush=True)
    print()
    report.table(["", "peak MiB", "at the end MiB", "events/s"], [
        [f"{client.key:8}  {client.title}", f"{median['peak_rss_mib']:.0f}", f"{median['rss_mib']:.0f}",
         f"{median['events_per_second']:,.0f}"]
        for client in chosen for median in [results[client.key]["median"]]])
    for client in chosen:
        curve = results[client.key]["rss_mib_by_second"]
        print(f"\n{client.key}: resident MiB, second by second: " + " ".join(f"{mib:.0f}" for _, mib in curve))
    report.write_json(options.json, NAME, {"keys": options.keys, "seed": options.seed, "runs": options.runs}, results)


def _sampler(curve):
    """Appends (seconds, MiB) to `curve` once a second."""
    def watch(seconds, running):
        if not curve or seconds >= curve[-1][0] + 1:
            curve.append((round(seconds, 2), round(process.rss_mib(running.pid), 1)))
    return watch
