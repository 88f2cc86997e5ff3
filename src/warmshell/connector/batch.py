"""Connectors whose locations are reached through a queue."""

from __future__ import annotations

from warmshell.connector.base import Connector


class BatchConnector(Connector):
    """Marks a connector that executes each command as a job of a queue: it begins when its turn comes, and has an end.

    No session can be kept open at its locations. So whatever keeps some open at the location around it, as containers
    and programs do, refuses to wrap it.
    """


def refusal(outer: str, inner: str) -> str:
    """Why a deployment cannot be inside of one of this kind, in one sentence.

    Args:
        outer: the type or the name of the one that would wrap it.
        inner: the type or the name of the other one.
    """
    return (
        f"{outer!r} keeps sessions open at the location around it, which {inner!r} cannot have: it executes each "
        "command as a job of a queue"
    )


REMEDY = "wrap what the queue is reached through, or a host that the job has been given"
"""What to do instead."""
