"""How fast, and at what cost: every client over the same preloaded stream, in turn, several times."""

from . import clients, phase, report
from .arguments import positive
from .redis import Server

NAME = "throughput"
HELP = "events/s, CPU of client and Redis, peak memory (the default)"


def add_arguments(parser):
    parser.add_argument("--events", type=positive, default=1_000_000, metavar="N", help="entries preloaded (1,000,000)")
    parser.add_argument("--users", type=positive, default=10_000, metavar="N", help="distinct user_id (10,000)")


def run(options):
    chosen = clients.select(options.only, "a,b,c,d,tidemill")
    runs = {client.key: [] for client in chosen}
    with Server() as server:
        work = phase.Work(server, options.events, options.users, options.seed)
        print(f"{work.events:,} entries of {work.expected['payload_bytes']:.0f} bytes, {work.expected['offers']:,} "
              f"purchases, {options.users:,} users; {options.runs} runs of each, in turn", flush=True)
        for number in range(1, options.runs + 1):
            for client in chosen:
                figures = phase.run(server, work, client, 30 + work.events / 10_000)
                runs[client.key].append(figures)
                print(f"  run {number}  {client.key:8}  {figures['events_per_second']:>9,.0f}/s"
                      f"  results exact{_noise(figures)}", flush=True)
    results = {client.key: {"title": client.title, "median": report.medians(runs[client.key]),
                            "runs": runs[client.key]} for client in chosen}
    _print(chosen, results)
    report.write_json(options.json, NAME, {"events": options.events, "users": options.users, "seed": options.seed,
                                           "runs": options.runs}, results)


def _noise(figures):
    """Two busy processes leave nothing on two cores: whoever else ran has slowed this run down."""
    others = figures["others_cpus"]
    return f"  (others used {others:.2f} CPUs meanwhile)" if others > 0.1 else ""


def _print(chosen, results):
    def ratio(name, key="tidemill", reference="a"):
        return report.ratio(results, key, reference, name)

    rows = []
    for client in chosen:
        median = results[client.key]["median"]
        rows.append([
            f"{client.key:8}  {client.title}",
            f"{median['events_per_second']:,.0f}",
            report.ratio_text(ratio("events_per_second", client.key)),
            f"{median['client_us']:.2f}",
            report.ratio_text(ratio("client_us", client.key)),
            f"{median['server_us']:.2f}",
            report.ratio_text(ratio("server_us", client.key)),
            f"{median['peak_rss_mib']:.0f}",
        ])
    print("\nMedians; µs are CPU time an event; x is the ratio to (a) in the same round, its median:\n")
    report.table(["", "events/s", "x", "client µs", "x", "redis µs", "x", "peak MiB"], rows)
    report.print_goals([
        ("events/s, of (a)'s", ratio("events_per_second"), ">=", 1.4),
        ("events/s, of (b)'s", ratio("events_per_second", reference="b"), ">=", 0.85),
        ("events/s, of (c)'s", ratio("events_per_second", reference="c"), ">=", 3),
        ("redis CPU, of (a)'s", ratio("server_us"), "<=", 0.6),
        ("client CPU, of (a)'s", ratio("client_us"), "<=", 1),
        ("peak MiB", results["tidemill"]["median"]["peak_rss_mib"] if "tidemill" in results else None, "<=", 64),
    ])
