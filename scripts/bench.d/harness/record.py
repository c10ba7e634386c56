"""What records of decisions cost: the pricing work with the setting `record` at several shares, beside plain C.

In each round (b), the plain C client that recovers nothing, and Tidemill at each share in turn do the work of the mode
`throughput`, checked in the same way. What one recorded event costs is the difference to share 0 in the same round: the less is
recorded, the longer a run that says anything, and the JIT's warming up is in it. The records themselves are counted: with share 1 as many as
entries, with 0 none, between them within five standard deviations of the share.
"""

import math

from . import clients, phase, report
from .arguments import positive

NAME = "record"
HELP = "records of decisions: CPU per event at shares 0, 0.01, 0.1 and 1"

SHARES = ("0", "0.01", "0.1", "1")
RECORDS = "tidemill:bench:decisions"


def add_arguments(parser):
    parser.add_argument("--events", type=positive, default=1_000_000, metavar="N", help="entries preloaded (1,000,000)")
    parser.add_argument("--users", type=positive, default=10_000, metavar="N", help="distinct user_id (10,000)")


class Recording(clients.Tidemill):
    """Tidemill that records a share of the events."""

    def __init__(self, share):
        self.key, self.title, self.share = f"record-{share}", f"Tidemill, record {share}", float(share)

    def command(self, socket_path):
        return super().command(socket_path) + ["--record", f"{self.share:g}"]


def _count_records(redis, client, work):
    """How many there were ever, which must be the share."""
    if not isinstance(client, Recording):
        return None
    count = redis.entries_added(RECORDS)
    most_off = 5 * math.sqrt(work.events * client.share * (1 - client.share))
    if abs(count - work.events * client.share) > most_off:
        raise SystemExit(f"bench: WRONG RESULT of {client.key}: {count:,} records of {work.events:,} events")
    return count


def run(options):
    plain = clients.select("b", "b")
    shares = [Recording(share) for share in SHARES]
    for client in shares:
        client.prepare()
    chosen = plain + [client for client in shares if not options.only or client.key in options.only.split(",")]
    runs = phase.rounds(options, chosen, _count_records)
    results = {client.key: {"title": client.title, "median": report.medians(runs[client.key]),
                            "runs": runs[client.key]} for client in chosen}
    _print(chosen, results, options.events)
    report.write_json(options.json, NAME, {"events": options.events, "users": options.users, "seed": options.seed,
                                           "runs": options.runs}, results)


def _print(chosen, results, events):
    rows = []
    for client in chosen:
        median = results[client.key]["median"]
        rows.append([client.title, f"{median['events_per_second']:,.0f}", f"{median['client_us']:.2f}",
                     report.ratio_text(report.ratio(results, client.key, "record-0", "client_us")),
                     report.cost_text(results, client.key, "record-0", "client_us", events), f"{median['server_us']:.2f}",
                     report.cost_text(results, client.key, "record-0", "server_us", events), f"{median['peak_rss_mib']:.0f}"])
    print("\nMedians; µs are CPU time an event; x is the ratio to share 0 in the same round, its median; a record's are the\n"
          "difference to share 0, for each event that was recorded:\n")
    report.table(["", "events/s", "client µs", "x", "a record's", "redis µs", "a record's", "peak MiB"], rows)
    report.print_goals([
        ("client CPU at 0.01, of that at 0", report.ratio(results, "record-0.01", "record-0", "client_us"), "<=", 1.1),
    ])
