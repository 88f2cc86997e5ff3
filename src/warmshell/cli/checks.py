"""What ``warm doctor`` asks a location, and how it judges the answers (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "note", "missing"]
"""Fine; could be better; essential and not there."""

SHELLS = ("sh", "dash", "bash", "busybox", "ksh", "mksh", "zsh")
TOOLS = ("setsid", "tar", "zstd", "sudo", "doas", "ssh", "python3")

_LEAST_FILES = 1024
_LEAST_PROCESSES = 512
_LEAST_SPACE = 100 * 1024  # KiB

PROBE = """
say() { printf '%s\\t%s\\n' "$1" "$2"; }
say platform "$(uname -srm 2>/dev/null)"
for tool in SHELLS TOOLS; do
  say "path $tool" "$(command -v "$tool" 2>/dev/null)"
done
say python "$(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null)"
say cpus "$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null)"
say files "$(ulimit -n 2>/dev/null)"
say processes "$(bash -c 'ulimit -u' 2>/dev/null || { ulimit -p || ulimit -u; } 2>/dev/null)"
say arguments "$(getconf ARG_MAX 2>/dev/null)"
say pipe "$(cat /proc/sys/fs/pipe-max-size 2>/dev/null)"
[ -d /proc/self/fd ] && say proc yes
tmp=${TMPDIR:-/tmp}
say tmp "$tmp"
[ -d "$tmp" ] && [ -w "$tmp" ] && say writable yes
say space "$(df -Pk "$tmp" 2>/dev/null | awk 'NR == 2 { print $4 }')"
""".replace("SHELLS", " ".join(SHELLS)).replace("TOOLS", " ".join(TOOLS))
"""Says everything in one run of sh, as ``name TAB value`` lines."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        found: what there is; empty for nothing.
        state: how that is.
        advice: what to do, when it is not fine.
    """

    name: str
    found: str
    state: State = "ok"
    advice: str = ""

    def fields(self) -> dict[str, Any]:
        """The finding for JSON."""
        return asdict(self)


def parse(text: str) -> dict[str, str]:
    """The answers of the probe; empty ones are left out."""
    answers = (line.partition("\t") for line in text.splitlines())
    return {name: value.strip() for name, _, value in answers if value.strip()}


def judge(answers: Mapping[str, str], framings: Mapping[str, tuple[str, ...]]) -> list[Check]:
    """The findings.

    Args:
        answers: those of the probe.
        framings: for every shell that is there, the framings that worked.
    """
    return [
        Check("platform", answers.get("platform", "")),
        *_shells(answers, framings),
        _own_pipes(answers, framings),
        _python(answers),
        *_tools(answers),
        Check("cpus", answers.get("cpus", "")),
        _limit(answers, "files", "open files", _LEAST_FILES, "ulimit -n 4096"),
        _limit(answers, "processes", "processes", _LEAST_PROCESSES, "ulimit -u 4096"),
        Check("ARG_MAX", answers.get("arguments", "")),
        Check("pipe size", answers.get("pipe", "")),
        _space(answers),
    ]


def _shells(answers: Mapping[str, str], framings: Mapping[str, tuple[str, ...]]) -> list[Check]:
    checks = []
    for shell in SHELLS:
        path = answers.get(f"path {shell}", "")
        works = framings.get(shell, ())
        if path and works:
            checks.append(Check(shell, f"{path} ({', '.join(works)})"))
        elif path:
            state: State = "missing" if shell == "sh" else "note"
            checks.append(Check(shell, path, state, "it is there, but no warm shell could be kept in it"))
        elif shell == "sh":
            checks.append(Check(shell, "", "missing", "a POSIX shell named sh is needed in PATH"))
    if "path dash" not in answers:
        checks.append(Check("dash", "", "note", "install dash: it is the quickest of the shells"))
    return checks


def _own_pipes(answers: Mapping[str, str], framings: Mapping[str, tuple[str, ...]]) -> Check:
    if any("pipes" in works for works in framings.values()):
        return Check("own pipes", "yes, through /proc")
    why = "" if "proc" in answers else ", as there is no /proc here"
    return Check("own pipes", "", "note", f"output is framed by markers{why}; the difference is in the guarantees")


def _python(answers: Mapping[str, str]) -> Check:
    version = answers.get("python", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers >= (3, 8):
        return Check("python3", version)
    return Check("python3", version, "note", "with Python 3.8 or newer, a session needs one process only")


_ADVICE = {
    "setsid": "install util-linux, so that nothing escapes a time limit",
    "tar": "install tar: files are copied with it",
    "zstd": "install zstd: it makes copies over slow links quicker",
    "ssh": "install the OpenSSH client to reach other hosts",
}


def _tools(answers: Mapping[str, str]) -> list[Check]:
    checks = [
        Check(tool, answers[f"path {tool}"]) if f"path {tool}" in answers else Check(tool, "", "note", advice)
        for tool, advice in _ADVICE.items()
    ]
    become = [answers[f"path {tool}"] for tool in ("sudo", "doas") if f"path {tool}" in answers]
    if become:
        return [*checks, Check("sudo/doas", ", ".join(become))]
    return [*checks, Check("sudo/doas", "", "note", "install one of them to run commands as another account")]


def _limit(answers: Mapping[str, str], key: str, name: str, least: int, remedy: str) -> Check:
    value = answers.get(key, "")
    if value.isdecimal() and int(value) < least:
        return Check(name, value, "note", f"few for many commands at once: {remedy}")
    return Check(name, value)


def _space(answers: Mapping[str, str]) -> Check:
    tmp, space = answers.get("tmp", "/tmp"), answers.get("space", "")  # noqa: S108 - named, not used
    if "writable" not in answers:
        return Check("temporary files", tmp, "missing", "make the directory writable, or set TMPDIR to one that is")
    free = f"{tmp}, {int(space) // 1024} MiB free" if space.isdecimal() else tmp
    if space.isdecimal() and int(space) < _LEAST_SPACE:
        return Check("temporary files", free, "note", "large output spills there: make room, or set TMPDIR")
    return Check("temporary files", free)
