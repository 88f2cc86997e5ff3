"""What ``warm deploy``, ``undeploy`` and ``status`` do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

from warmshell.cli.output import write_out
from warmshell.deployment import holder, status
from warmshell.deployment.file import DEFAULT_NAME, DeploymentFile, find
from warmshell.deployment.manager import DeploymentManager
from warmshell.errors import ConnectError, LocationError
from warmshell.shield import shielded

_READY = b"deployed\n"


def opened(given: str | None) -> DeploymentFile:
    """The deployment file.

    Raises:
        LocationError: there is none, or it is none.
    """
    path = find(given)
    if path is None:
        raise LocationError(f"there is no {DEFAULT_NAME} here", hint="name a file with --file or $WARMSHELL_FILE")
    return DeploymentFile(path)


def _checked(file: DeploymentFile, names: Iterable[str]) -> list[str]:
    """The deployments that are meant, each of which is right."""
    meant = list(dict.fromkeys(names)) or file.names
    for name in meant:
        file.deployment(name)
    return meant


def _say(line: str) -> None:
    write_out(1, f"{line}\n".encode("utf-8", "surrogateescape"))


async def deployed(given: str | None, names: Sequence[str], *, background: bool) -> int:
    """Deploy, and hold it here, or in the background; what is held by a process already is left to that one."""
    file = opened(given)
    meant = _checked(file, names)
    if await holder.ask(file.path, "deploy", meant, patient=True) is not None:
        _say(f"deployed: {', '.join(meant)}")
        return 0
    if background:
        return await _in_background(file, meant)
    manager = DeploymentManager(file)
    await holder.hold(manager, file, meant, lambda: _say(f"deployed: {', '.join(meant)}"))
    return 0


async def _in_background(file: DeploymentFile, names: Sequence[str]) -> int:
    """Start a process that holds it, and wait until it says that it does, or why it cannot."""
    words = [sys.executable, "-m", "warmshell", "deploy", "--file", file.path, "--", *names]
    process = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None  # noqa: S101 - for the type checker
    assert process.stderr is not None  # noqa: S101 - for the type checker
    try:
        line = await process.stdout.readline()
        if line:
            _say(line.decode("utf-8", "replace").rstrip("\n"))
            return 0
        said = (await process.stderr.read()).decode("utf-8", "replace").strip().removeprefix("warm: ")
    except BaseException:
        await shielded(_end(process))
        raise
    await process.wait()
    raise ConnectError(said or "the process that was to hold it ended without a word")


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


async def undeployed(given: str | None, names: Sequence[str]) -> int:
    """Have what is held taken down."""
    file = opened(given)
    for name in names:
        if name not in file.names:
            file.deployment(name)  # which says what there is
    if await holder.ask(file.path, "undeploy", names, patient=True) is None:
        raise ConnectError(f"no process holds deployments of {file.path!r}", hint="'warm deploy' starts one")
    return 0


async def shown(given: str | None, *, as_json: bool) -> int:
    """Show what there is; 1 if a deployment is wrong or a location away."""
    file = opened(given)
    entries = await holder.ask(file.path, "status")
    entries = status.of_file(file) if entries is None else entries
    for line in [json.dumps(entry) for entry in entries] if as_json else status.tree(entries):
        _say(line)
    return int(any("problem" in each for entry in entries for each in [entry, *entry["locations"]]))
