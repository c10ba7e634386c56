"""Builds the C programs and installs the Node packages, all under build/bench/; nothing is ever put into the tree."""

import os
import shlex
import shutil
import subprocess

SOURCES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(SOURCES))
BUILD = os.path.join(ROOT, "build", "bench")


class Missing(Exception):
    """Something is not installed or not built; the text says what, for a person."""


def _run(words, **options):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        said = "\n".join(done.stdout.strip().splitlines()[:12])
        raise Missing(f"{shlex.join(words[:3])} ... failed:\n{said}")
    return done.stdout


def c_program(name):
    """The path of the program built from NAME.c and common.c; built again when a source is newer."""
    target = os.path.join(BUILD, name)
    sources = [os.path.join(SOURCES, name + ".c"), os.path.join(SOURCES, "common.c")]
    headers = [os.path.join(SOURCES, file) for file in os.listdir(SOURCES) if file.endswith(".h")]
    if os.path.exists(target) and os.path.getmtime(target) > max(map(os.path.getmtime, sources + headers)):
        return target
    for tool in ("cc", "pkg-config"):
        if not shutil.which(tool):
            raise Missing(f"{tool} is not installed")
    os.makedirs(BUILD, exist_ok=True)
    flags = _run(["pkg-config", "--cflags", "--libs", "hiredis", "msgpack"]).split()
    _run(["cc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-o", target + ".new", *sources, *flags])
    os.replace(target + ".new", target)
    return target


def node_script(name):
    """The path of the script in a folder that has its packages, as the lock file says."""
    folder = os.path.join(BUILD, "node")
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            raise Missing(f"{tool} is not installed")
    os.makedirs(folder, exist_ok=True)
    changed = False
    for file in ("package.json", "package-lock.json", name):
        source, target = os.path.join(SOURCES, file), os.path.join(folder, file)
        with open(source, "rb") as f:
            wanted = f.read()
        if not os.path.exists(target) or open(target, "rb").read() != wanted:
            shutil.copyfile(source, target)
            changed = changed or file != name
    installed = os.path.join(folder, "node_modules", ".package-lock.json")
    if changed or not os.path.exists(installed):
        _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
    return os.path.join(folder, name)


def python_with(*modules):
    """A Python that has these modules: Debian's own first, since its packages are what is compared."""
    code = "import " + ", ".join(modules)
    for python in ("/usr/bin/python3", shutil.which("python3")):
        if python and subprocess.run([python, "-c", code], stderr=subprocess.DEVNULL).returncode == 0:
            return python
    raise Missing("no python3 has " + ", ".join(modules) + " (Debian: python3-redis python3-hiredis python3-msgpack)")
