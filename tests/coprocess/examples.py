"""The examples in each language, with the words that start them here, or why they cannot run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples/coprocess"
LIBRARY = Path(__file__).parents[2] / "src/warmshell/coprocess/warmshell.sh"
_STARTERS = {
    "python": ([sys.executable], "upper.py"),
    "dash": (["dash"], "upper.sh"),
    "bash": (["bash"], "upper.sh"),
    "busybox": (["busybox", "sh"], "upper.sh"),
    "perl": (["perl"], "upper.pl"),
    "node": (["node"], "upper.js"),
}


def example(language: str) -> list[str]:
    words, name = _STARTERS[language]
    return [*words, str(EXAMPLES / name)]


def _missing(program: str) -> bool:
    if program == "perl" and shutil.which(program):  # Debian's perl-base has no modules
        return subprocess.run([program, "-MJSON::PP", "-e", "1"], capture_output=True, check=False).returncode != 0
    return shutil.which(program) is None


LANGUAGES = [
    pytest.param(
        language,
        marks=pytest.mark.skipif(_missing(words[0]), reason=f"{words[0]} is not installed: apt-get install {words[0]}"),
    )
    for language, (words, _) in _STARTERS.items()
]
SHELLS = [
    pytest.param(
        words, marks=pytest.mark.skipif(_missing(words[0]), reason=f"{words[0]} is not installed"), id=words[0]
    )
    for words in (["dash"], ["bash"], ["busybox", "sh"])
]
