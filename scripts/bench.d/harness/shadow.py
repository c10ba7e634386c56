"""What a shadow rule costs: the pricing work with a shadow copy of the rule beside it, beside plain C.

In each round (b), the plain C client that recovers nothing, Tidemill, and Tidemill with the copy (mode = "shadow", shadow_of =
"pricing") in turn do the work of the mode `throughput`, checked in the same way. Each purchase is then decided twice, compared, and
recorded: there must be as many records as purchases, and the last of them must call both the same. What one of them costs is the
difference to Tidemill without the copy in the same round.
"""

import os

from . import build, clients, cost

NAME = "shadow"
HELP = "a shadow copy of the rule beside it: CPU for each decision that is compared"

RECORDS = "tidemill:bench:shadow:pricing_next"
HEAD = "return tidemill.rule {\n"

add_arguments = cost.add_arguments


class Shadowed(clients.Tidemill):
    """Tidemill with two rules: the pricing rule, and its copy in shadow mode."""

    key, title = "shadow", "Tidemill, and a shadow copy of the rule"
    rules = os.path.join(build.BUILD, "shadow")

    def prepare(self):
        super().prepare()
        with open(os.path.join(clients.Tidemill.rules, "pricing.lua")) as file:
            text = file.read()
        assert HEAD in text
        copy = text.replace(HEAD, HEAD + '  mode = "shadow",\n  shadow_of = "pricing",\n')
        os.makedirs(self.rules, exist_ok=True)
        for name, rule in (("pricing.lua", text), ("pricing_next.lua", copy)):
            with open(os.path.join(self.rules, name), "w") as file:
                file.write(rule)


def _count_records(redis, client, work):
    """How many there were ever: as many as purchases, and the last ones are of decisions that are the same."""
    if not isinstance(client, Shadowed):
        return None
    count = redis.entries_added(RECORDS)
    last = redis("XREVRANGE", RECORDS, "+", "-", "COUNT", "100") if count else []
    verdicts = {dict(zip(fields[::2], fields[1::2]))["same"] for _, fields in last}
    if count != work.expected["offers"] or verdicts != {"1"}:
        raise SystemExit(f"bench: WRONG RESULT of {client.key}: {count:,} records of {work.expected['offers']:,} purchases, "
                         f"of which the last ones say same: {sorted(verdicts)}")
    return count


def run(options):
    chosen = cost.choose(options, [clients.Tidemill(), Shadowed()])
    cost.run(options, NAME, chosen, "tidemill", "a decision", _count_records)
