"""What records of decisions cost: the pricing work with the setting `record` at several shares, beside plain C.

In each round (b), the plain C client that recovers nothing, and Tidemill at each share in turn do the work of the mode
`throughput`, checked in the same way. What one recorded event costs is the difference to share 0 in the same round: the less is
recorded, the longer a run that says anything, and the JIT's warming up is in it. The records themselves are counted: with share 1 as many as
entries, with 0 none, between them within five standard deviations of the share.
"""

import math

from . import clients, cost, report

NAME = "record"
HELP = "records of decisions: CPU per event at shares 0, 0.01, 0.1 and 1"

SHARES = ("0", "0.01", "0.1", "1")
RECORDS = "tidemill:bench:decisions"

add_arguments = cost.add_arguments


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
    chosen = cost.choose(options, [Recording(share) for share in SHARES])
    results = cost.run(options, NAME, chosen, "record-0", "a record", _count_records)
    report.print_goals([
        ("client CPU at 0.01, of that at 0", report.ratio(results, "record-0.01", "record-0", "client_us"), "<=", 1.1),
    ])
