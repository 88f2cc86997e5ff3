"""Real processes for the tests of the guardian, and certainty that none of them outlives its test."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import pytest

from warmshell.guardian import processes, tree

from .guardian_help import PRELUDE, Family

if not processes.HAS_PROC:
    pytest.skip("these tests look at processes through Linux's /proc", allow_module_level=True)


@pytest.fixture
def token():
    return secrets.token_hex(16)


@pytest.fixture
def start(token):
    """Start a Python program in a session of its own, tagged as a shell; returns what it wrote as its first line."""
    families = []

    def start_program(program, *, env=None, **options):
        environment = {**os.environ, "WARMSHELL_SESSION": token} if env is None else env
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PRELUDE + program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            **options,
        )
        family = Family(process)
        families.append(family)
        return family

    yield start_program
    for family in families:
        family.end()
    for pid in tree.find(tags=[b"WARMSHELL_SESSION=" + token.encode()]):
        tree.send(*pid, 9)
