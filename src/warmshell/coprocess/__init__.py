"""Tools kept running and fed one invocation after another.

``serve`` turns a Python tool into a coprocess; ``CoprocessPool`` drives coprocesses. Imported on first use.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, whose import is most of what a client costs
if TYPE_CHECKING:
    from warmshell.coprocess.pool import CoprocessPool
    from warmshell.coprocess.serve import serve

__all__ = ["CoprocessPool", "serve"]

_HOME = {"CoprocessPool": "pool", "serve": "serve"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'warmshell.coprocess' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"warmshell.coprocess.{_HOME[name]}"), name)
    globals()[name] = value
    return value
