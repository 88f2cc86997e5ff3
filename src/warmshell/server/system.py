"""What Linux offers and Python's standard library does not, or not in every build."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_CHILD_SUBREAPER = 36


def _prctl() -> Callable[[int, int], int] | None:
    try:
        import _ctypes  # ctypes itself takes several times as long

        function = _ctypes.dlsym(_ctypes.dlopen(None, 2), "prctl")  # type: ignore[arg-type]
        call = _ctypes.call_function
    except (ImportError, OSError, AttributeError):
        return None

    def prctl(option: int, value: int) -> int:
        return int(call(function, (option, value, 0, 0, 0)))

    return prctl


_PRCTL = _prctl()


def become_subreaper() -> bool:
    """Have this process become the parent of its orphaned descendants; returns whether it will.

    It lasts across ``exec`` and is not inherited by children (``PR_SET_CHILD_SUBREAPER``, prctl(2)).
    """
    return _PRCTL is not None and _PRCTL(_PR_SET_CHILD_SUBREAPER, 1) == 0


def children(pid: int | str = "self") -> set[int] | None:
    """The children of a process, also the unreaped ones; ``None`` if the kernel does not tell."""
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.update(map(int, file.read().split()))
    except OSError:
        return None
    return found


def memory_file(name: str) -> int:
    """A file that no directory lists: in memory where that is to be had.

    Raises:
        OSError: no descriptor or no room is left.
    """
    create = getattr(os, "memfd_create", None)  # missing where Python was built for an old C library
    if create is not None:
        return int(create(name, os.MFD_CLOEXEC))
    last: OSError | None = None
    for directory in ("/dev/shm", os.environ.get("TMPDIR", "/tmp"), "/tmp"):  # noqa: S108 - the file has no name
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            last = error
    raise last or OSError("no place for a file in memory")
