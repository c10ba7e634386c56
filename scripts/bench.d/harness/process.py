"""What a process and its children have used, from /proc."""

import os


def tree(pid):
    """The process and all its living descendants."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        found.append(pid)
        for task in tasks:
            try:
                with open(f"/proc/{pid}/task/{task}/children") as file:
                    todo += [int(word) for word in file.read().split()]
            except OSError:
                pass
    return found


def cpu_seconds(pid):
    """CPU time of all threads of the tree. By schedstat, to the microsecond: utime and stime only count 10 ms ticks.

    Threads and children that ended meanwhile are not in it; no client here ends any while it works.
    """
    nanoseconds = 0
    for member in tree(pid):
        try:
            for task in os.listdir(f"/proc/{member}/task"):
                with open(f"/proc/{member}/task/{task}/schedstat") as file:
                    nanoseconds += int(file.read().split()[0])
        except OSError:
            pass
    return nanoseconds / 1e9


def machine_cpu_seconds():
    """CPU time that all CPUs together spent on anything but idling, in 10 ms ticks."""
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _status_kib(pid, name):
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def rss_mib(pid):
    """Resident memory now, summed over the tree: what processes share counts more than once, against the client."""
    return sum(_status_kib(member, "VmRSS") for member in tree(pid)) / 1024


def peak_rss_mib(pid):
    """The sum of each process' own peak (VmHWM)."""
    return sum(_status_kib(member, "VmHWM") for member in tree(pid)) / 1024
