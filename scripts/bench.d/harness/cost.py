"""Modes that say what one thing costs: the pricing work with and without it, by clients in turn, so many rounds."""

import statistics

from . import clients, phase, report
from .arguments import positive
from .redis import Server


def add_arguments(parser):
    parser.add_argument("--events", type=positive, default=1_000_000, metavar="N", help="entries preloaded (1,000,000)")
    parser.add_argument("--users", type=positive, default=10_000, metavar="N", help="distinct user_id (10,000)")


def choose(options, own):
    """The plain C client (b), and those of the mode's own clients that --only names, ready to run."""
    keys = [client.key for client in own]
    names = options.only.split(",") if options.only else keys
    unknown = [name for name in names if name not in keys + ["b"]]
    if unknown:
        raise SystemExit(f"bench: --only {unknown[0]}: known are b, {', '.join(keys)}")
    chosen = [client for client in own if client.key in names]
    for client in chosen:
        client.prepare()
    return clients.select("b", "b") + chosen


def run(options, mode, chosen, reference, what, count):
    """Measures, prints a table, and adds to the JSON file. Returns the results by key.

    `count(redis, client, work)`: how many of `what` the client had in the run just done; None: such things are not of it. It ends
    the benchmark when that number is wrong. What one costs is what the client of the key `reference` did not spend in the
    same round.
    """
    runs = {client.key: [] for client in chosen}
    with Server() as server:
        work = phase.Work(server, options.events, options.users, options.seed)
        print(f"{work.events:,} entries, {work.expected['offers']:,} purchases; {options.runs} rounds", flush=True)
        for number in range(1, options.runs + 1):
            for client in chosen:
                figures = phase.run(server, work, client, 60 + work.events / 5_000)
                runs[client.key].append(figures | {"count": count(server.command, client, work) or 0})
            print(f"  round {number}: " + ", ".join(
                f"{key} {figures[-1]['client_us']:.2f} µs" for key, figures in runs.items()), flush=True)
    results = {client.key: {"title": client.title, "median": report.medians(runs[client.key]),
                            "runs": runs[client.key]} for client in chosen}
    _print(results, reference, what, options.events)
    report.write_json(options.json, mode, {"events": options.events, "users": options.users, "seed": options.seed,
                                           "runs": options.runs}, results)
    return results


def _cost(results, key, reference, name, events):
    """µs for each: the difference to the reference over all events of a round, by how many there were; the median."""
    if reference not in results or not results[key]["median"]["count"]:
        return "-"
    pairs = zip(results[key]["runs"], results[reference]["runs"])
    return f"{statistics.median((own[name] - other[name]) * events / own['count'] for own, other in pairs):.2f}"


def _print(results, reference, what, events):
    rows = []
    for key, result in results.items():
        median = result["median"]
        rows.append([result["title"], f"{median['events_per_second']:,.0f}", f"{median['client_us']:.2f}",
                     report.ratio_text(report.ratio(results, key, reference, "client_us")),
                     _cost(results, key, reference, "client_us", events), f"{median['server_us']:.2f}",
                     _cost(results, key, reference, "server_us", events), f"{median['peak_rss_mib']:.0f}"])
    title = results[reference]["title"] if reference in results else reference
    print(f"\nMedians; µs are CPU time an event. Compared in each round with \"{title}\":\n"
          f"x is the ratio, {what}'s µs are the difference, for each.\n")
    report.table(["", "events/s", "client µs", "x", f"{what}'s", "redis µs", f"{what}'s", "peak MiB"], rows)
