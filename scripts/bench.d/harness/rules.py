"""What each further rule of a stream costs: the pricing work with 1, 2, 4 and 8 rules, beside plain C.

In each round (b), the plain C client that recovers nothing, and Tidemill with so many rules in turn do the work of the mode
`throughput`, checked in the same way. The further rules are copies of the first, with states and an output of their own: so every
purchase is decided so many times, and each output must have as many entries as there are purchases. What a rule costs is the
difference to one rule in the same round, an event: two thirds of them are none of a rule's business.
"""

import os

from . import build, clients, cost

NAME = "rules"
HELP = "1, 2, 4 and 8 rules on one stream: CPU for each further rule"

NUMBERS = (1, 2, 4, 8)
OUTPUT = '"offers"'

add_arguments = cost.add_arguments


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
    chosen = cost.choose(options, [Several(number) for number in NUMBERS])
    cost.run(options, NAME, chosen, "rules-1", "a further rule", _count_events)
