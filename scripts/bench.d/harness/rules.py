"""What each further rule of a stream costs: the pricing work with 1, 2, 4 and 8 rules, beside plain C.

In each round (b), the plain C client that recovers nothing, and Tidemill with so many rules in turn do the work of the mode
`throughput`, checked in the same way. The further rules are copies of the first, with states and an output of their own: so every
purchase is decided so many times, and each output must have as many entries as there are purchases. What a rule costs is the
difference to one rule in the same round, an event: two thirds of them are none of a rule's business.
"""

import os

from . import build, clients, phase, report
from .arguments import positive

NAME = "rules"
HELP = "1, 2, 4 and 8 rules on one stream: CPU for each further rule"

NUMBERS = (1, 2, 4, 8)
OUTPUT = '"offers"'


def add_arguments(parser):
    parser.add_argument("--events", type=positive, default=1_000_000, metavar="N", help="entries preloaded (1,000,000)")
    parser.add_argument("--users", type=positive, default=10_000, metavar="N", help="distinct user_id (10,000)")


class Several(clients.Tidemill):
    """Tidemill with the pricing rule and copies of it."""

    def __init__(self, number):
        self.key, self.title, self.number = f"rules-{number}", f"Tidemill, {number} rule{'s' if number > 1 else ''}", number
        self.rules = os.path.join(build.BUILD, self.key)

    def prepare(self):
        super().prepare()
        with open(os.path.join(clients.Tidemill.rules, "pricing.lua")) as file:
            text = file.read()
        assert OUTPUT in text
        os.makedirs(self.rules, exist_ok=True)
        for n in range(self.number):
            with open(os.path.join(self.rules, f"pricing{n or ''}.lua"), "w") as file:
                file.write(text.replace(OUTPUT, f'"offers{n or ""}"'))


def _count_events(redis, client, work):
    """Events that further rules have seen. Each has emitted as many offers as the first."""
    if not isinstance(client, Several):
        return None
    for n in range(1, client.number):
        count = redis.entries_added(f"offers{n}")
        if count != work.expected["offers"]:
            raise SystemExit(f"bench: WRONG RESULT of {client.key}: {count:,} offers of rule {n}, should be "
                             f"{work.expected['offers']:,}")
    return (client.number - 1) * work.events


def run(options):
    several = [Several(number) for number in NUMBERS]
    for client in several:
        client.prepare()
    chosen = clients.select("b", "b")
    chosen += [client for client in several if not options.only or client.key in options.only.split(",")]
    runs = phase.rounds(options, chosen, _count_events)
    results = {client.key: {"title": client.title, "median": report.medians(runs[client.key]),
                            "runs": runs[client.key]} for client in chosen}
    _print(chosen, results, options.events)
    report.write_json(options.json, NAME, {"events": options.events, "users": options.users, "seed": options.seed,
                                           "runs": options.runs}, results)


def _print(chosen, results, events):
    rows = []
    for client in chosen:
        median = results[client.key]["median"]
        row = [client.title, f"{median['events_per_second']:,.0f}"]
        for name in ("client_us", "server_us"):
            row += [f"{median[name]:.2f}", report.cost_text(results, client.key, "rules-1", name, events)]
        rows.append(row + [f"{median['peak_rss_mib']:.0f}"])
    print("\nMedians; µs are CPU time an event, and a further rule's the difference to one rule, its median over the rounds:\n")
    report.table(["", "events/s", "client µs", "a further rule's", "redis µs", "a further rule's", "peak MiB"], rows)
