"""What is deployed, where commands can run, and what goes on there: as plain values, for people and for programs."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from warmshell.errors import WarmshellError

if TYPE_CHECKING:
    from warmshell.connector.base import Connector
    from warmshell.deployment.file import Deployment, DeploymentFile
    from warmshell.deployment.manager import DeploymentManager, Managed
    from warmshell.location import Location

_PATIENCE = 3.0  # seconds, three times at most: who asks waits for ten
_LOAD = "cat /proc/loadavg 2>/dev/null || sysctl -n vm.loadavg"


def of_file(file: DeploymentFile) -> list[dict[str, Any]]:
    """The deployments of a file of which none is deployed by anybody who could be asked."""
    return [_listed(file, name) for name in file.names]


def _listed(file: DeploymentFile, name: str) -> dict[str, Any]:
    try:
        return _entry(file.deployment(name), "not deployed")
    except WarmshellError as error:
        return {"name": name, "state": "wrong", "problem": error.message, "locations": []}


def _entry(deployment: Deployment, state: str) -> dict[str, Any]:
    wraps = deployment.wraps
    return {
        "name": deployment.name, "type": deployment.type, "state": state, "external": deployment.external,
        "lazy": deployment.lazy, "wraps": None if wraps is None else wraps.deployment, "locations": [],
    }  # fmt: skip


async def of_manager(manager: DeploymentManager, file: DeploymentFile) -> list[dict[str, Any]]:
    """The deployments of a file as a manager knows them."""
    managed = manager.managed

    async def entry(name: str) -> dict[str, Any]:
        return await _managed(managed[name]) if name in managed else _listed(file, name)

    return await asyncio.gather(*map(entry, file.names))


async def _managed(managed: Managed) -> dict[str, Any]:
    connector = managed.connector.inner
    entry = _entry(managed.deployment, connector.state)
    if connector.state != "deployed":
        return entry
    entry["held"] = connector.held()
    try:
        async with asyncio.timeout(_PATIENCE):
            names = [member.name for member in await connector.places()]
    except (WarmshellError, TimeoutError) as error:
        entry["problem"] = str(error) or "it does not say which locations it has"
        names = list(connector.connected)
    await _connect(connector, names)
    connected, away = connector.connected, connector.away
    entry["locations"] = await asyncio.gather(*[_location(name, connected.get(name), away.get(name)) for name in names])
    return entry


async def _connect(connector: Connector, names: list[str]) -> None:
    """Connect what is not, as what goes on there can only be asked there; one that takes longer is left at it."""
    tasks = [asyncio.ensure_future(connector.location(name)) for name in names if name not in connector.connected]
    if not tasks:
        return
    _, slow = await asyncio.wait(tasks, timeout=_PATIENCE)
    for task in slow:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)  # why one is away is known to the connector


async def _location(name: str, location: Location | None, away: WarmshellError | None) -> dict[str, Any]:
    if location is None:
        return {"name": name, "state": "not connected" if away is None else "away",
                **({} if away is None else {"problem": away.message})}  # fmt: skip
    entry: dict[str, Any] = {
        "name": name, "state": "connected", "framing": location.place.framing, "shells": asdict(location.statistics()),
    }  # fmt: skip
    try:
        async with asyncio.timeout(_PATIENCE):
            entry |= await _told(location)
    except (WarmshellError, TimeoutError) as error:
        entry["problem"] = str(error) or "it does not answer"
    return entry


async def _told(location: Location) -> dict[str, Any]:
    """What a location says itself: a session server knows more than its load."""
    session = location.place.session
    if session is None:
        said = (await location.run(_LOAD, timeout=_PATIENCE)).text
        load = [float(number) for number in re.findall(r"\d+\.\d+", said.replace(",", "."))[:3]]
        return {"load": load} if len(load) == 3 else {}
    told = await session.ask("stat")
    known = {key: told[key] for key in ("processes", "memory", "load") if key in told}
    return {"subshells": len(told["subshells"]), **known}


def tree(entries: list[dict[str, Any]]) -> list[str]:
    """The lines that show it: deployments below those that they are reached through, locations below theirs."""
    names = {entry["name"] for entry in entries}
    lines: list[str] = []
    tops = [entry for entry in entries if entry.get("wraps") not in names]
    for entry in tops:
        _show(entry, entries, "", "", lines)
    return lines


def _show(entry: dict[str, Any], entries: list[dict[str, Any]], head: str, indent: str, lines: list[str]) -> None:
    lines.append(head + _words(entry))
    inner = [each for each in entries if each.get("wraps") == entry["name"]]
    below: list[dict[str, Any]] = [*entry["locations"], *inner]
    for at, each in enumerate(below):
        last = at == len(below) - 1
        branch, more = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if "locations" in each:
            _show(each, entries, indent + branch, indent + more, lines)
        else:
            lines.append(indent + branch + _location_words(each))


def _words(entry: dict[str, Any]) -> str:
    kind = entry.get("type", "?")
    notes = [entry["state"], *(["external"] if entry.get("external") else [])]
    problem = f": {entry['problem']}" if "problem" in entry else ""
    return f"{entry['name']} ({kind}): {', '.join(notes)}{problem}"


def _location_words(entry: dict[str, Any]) -> str:
    if entry["state"] != "connected":
        return f"{entry['name']}: {entry['state']}" + (f": {entry['problem']}" if "problem" in entry else "")
    shells = entry["shells"]
    words = [f"{entry['framing']}", f"shells: {shells['busy']} busy, {shells['idle']} idle"]
    if "subshells" in entry:
        words.append(f"{entry['subshells']} subshells")
    if "load" in entry:
        words.append("load " + " ".join(f"{load:.2f}" for load in entry["load"]))
    return f"{entry['name']}: " + "; ".join(words) + (f"; {entry['problem']}" if "problem" in entry else "")
