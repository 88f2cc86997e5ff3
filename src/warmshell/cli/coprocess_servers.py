"""``warm coprocess ls``, ``stop`` and ``stats``: the fork servers of Python tools."""

from __future__ import annotations

import click

_MEGABYTE = 1e6


@click.command(help="List the fork servers of Python tools: process, calls so far, memory, idle time, tool.")
def ls() -> None:
    """The command object."""
    from warmshell.coprocess.forkserver.servers import servers

    found = servers()
    if not found:
        return
    click.echo(f"{'PID':>8} {'CALLS':>7} {'RUNNING':>7} {'WAITING':>7} {'MEMORY':>8} {'IDLE':>6}  TOOL")
    for info in found:
        memory = f"{info.memory / _MEGABYTE:.0f} MB"
        numbers = f"{info.pid:>8} {info.calls:>7} {info.running:>7} {info.waiting:>7} {memory:>8} {info.idle:>5}s"
        click.echo(f"{numbers}  {info.tool}")


@click.command(help="Tell fork servers to end, once the calls that run have ended: those of the TOOLs, or all.")
@click.argument("tools", nargs=-1, metavar="[TOOL]…")
def stop(tools: tuple[str, ...]) -> None:
    """The command object."""
    from warmshell.coprocess.forkserver.servers import stop as stop_servers

    for info in stop_servers(set(tools)):
        click.echo(f"{info.pid} {info.tool}")


@click.command(help="What the fork servers hold and have done: one JSON object a line.")
def stats() -> None:
    """The command object."""
    import dataclasses
    import json

    from warmshell.coprocess.forkserver.servers import servers

    for info in servers():
        click.echo(json.dumps(dataclasses.asdict(info)))
