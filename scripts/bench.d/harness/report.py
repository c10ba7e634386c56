"""Medians, aligned tables, the JSON file."""

import json
import os
import platform
import statistics
import subprocess
import time

from . import build


def medians(runs):
    """The median of every figure by itself, over the runs of one client."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def table(header, rows):
    """Columns as wide as their widest cell; the first one leans left, the others right."""
    cells = [header] + rows
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]).rstrip())


def ratio(results, key, reference, name):
    """The median, over the rounds, of a figure by the reference's in the same round; None without both.

    Of the same round, because the machine's speed drifts: runs next to each other compare best.
    """
    if key not in results or reference not in results:
        return None
    pairs = zip(results[key]["runs"], results[reference]["runs"])
    return statistics.median(own[name] / other[name] for own, other in pairs if other[name])


def ratio_text(value):
    return "-" if value is None else f"{value:.2f}"


def print_goals(goals):
    """`goals`: (what, value or None, "<=" or ">=", bound). Those that this run did not measure are left out."""
    measured = [goal for goal in goals if goal[1] is not None]
    if not measured:
        return
    print("\nGoals of Tidemill:\n")
    table(["", "measured", "goal", ""], [
        [what, f"{value:.2f}", f"{sense} {bound}",
         "met" if (value <= bound if sense == "<=" else value >= bound) else "MISSED"]
        for what, value, sense, bound in measured])


def _first_line(words):
    try:
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split("\n")[0]
    except OSError:
        return None


def machine():
    cpu = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "redis": _first_line(["redis-server", "--version"]),
        "commit": _first_line(["git", "-C", build.ROOT, "rev-parse", "HEAD"]),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write_json(path, mode, options, clients):
    """`clients`: key -> {"title", "median", "runs"}. Other modes' results in the same file stay."""
    document = {}
    try:
        with open(path) as file:
            document = json.load(file)
    except (OSError, ValueError):
        pass
    document[mode] = {"machine": machine(), "options": options, "clients": clients}
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".new", "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    os.replace(path + ".new", path)
    print(f"\nwritten: {os.path.relpath(path)}")
