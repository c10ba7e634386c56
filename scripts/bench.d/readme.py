"""Puts the figures of build/bench.json between the marks in README.md:  python3 scripts/bench.d/readme.py [JSON]

Run it after `make bench` on a quiet machine; it says how busy others were.
"""

import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def row(cells):
    return "| " + " | ".join(cells) + " |"


def throughput(part):
    yield row(["who, on the same work", "events/s", "client µs/event", "redis µs/event", "peak MiB"])
    yield row(["---", "--:", "--:", "--:", "--:"])
    for client in part["clients"].values():
        m = client["median"]
        yield row([client["title"], f"{round(m['events_per_second'], -3):,.0f}", f"{m['client_us']:.2f}",
                   f"{m['server_us']:.2f}", f"{m['peak_rss_mib']:.0f}"])


def latency(part):
    yield row([f"latency at {part['options']['rate']:,} events/s", "p50 µs", "p99 µs"])
    yield row(["---", "--:", "--:"])
    for client in part["clients"].values():
        m = client["median"]
        yield row([client["title"], f"{m['p50_us']:,.0f}", f"{m['p99_us']:,.0f}"])


def main():
    source = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "bench.json")
    with open(source, encoding="utf-8") as file:
        parts = json.load(file)
    lines = list(throughput(parts["throughput"]))
    if "latency" in parts:
        lines += ["", *latency(parts["latency"])]
    machine, options = parts["throughput"]["machine"], parts["throughput"]["options"]
    busy = max(client["median"]["others_cpus"] for client in parts["throughput"]["clients"].values())
    lines += ["", f"{options['events']:,} events, median of {options['runs']}; {machine['cpus']} CPUs ({machine['cpu']}), "
              f"Redis on the same machine; other programs used {busy:.1f} CPUs meanwhile."]
    path = os.path.join(ROOT, "README.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + after)
    print(f"README.md: {len(parts['throughput']['clients'])} clients, others used {busy:.1f} CPUs")


main()
