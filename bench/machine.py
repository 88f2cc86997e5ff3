"""The facts about the machine that a figure means nothing without."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def facts() -> dict[str, str | int | float]:
    """What the table says above its figures."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpus": cpus(),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sh": _shell(),
        "warmshell": _package("warmshell"),
        "commit": _output(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]),
        "peers": ", ".join(_peers()),
    }


def cpus() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float:
    """The load of the last minute: a calm machine is near 0 before the run."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _shell() -> str:
    found = shutil.which("sh")
    return Path(found).resolve().name if found else "none"


def _peers() -> list[str]:
    tools = [_first([tool, "--version"]) for tool in ("xargs", "parallel")]
    return [
        *(tool for tool in tools if tool),
        f"pexpect {_package('pexpect')}",
        f"plumbum {_package('plumbum')}",
    ]


def ssh_peers() -> str:
    """The versions of what the ssh theme compares with."""
    client = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False) if shutil.which("ssh") else None
    names = ("asyncssh", "paramiko", "fabric", "mitogen", "execnet")
    return ", ".join([client.stderr.partition(",")[0] if client else "no ssh", *(f"{n} {_package(n)}" for n in names)])


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _first(argv: list[str]) -> str:
    lines = _output(argv).splitlines()
    return lines[0] if lines else ""


def _output(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def line(machine: dict[str, str | int | float]) -> str:
    """The facts in one line, for a plot."""
    return f"{machine['cpus']} CPUs · {machine['system']} · Python {machine['python']} · sh = {machine['sh']}"


if __name__ == "__main__":
    sys.stdout.write(f"{line(facts())}\n")
