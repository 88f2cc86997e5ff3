"""How a Python program ends: the status, the last words, and what finalization would still have done.

A call ends by ``_exit``: to take the interpreter apart would copy and free all of the memory that calls share. What
taking it apart does that can be seen from outside is done here: threads are waited for, exit handlers run, streams are
flushed, and what the call itself made is finalized.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_CANNOT_FLUSH = 120


class Outcome:
    """What came of the run: a status, and whether it was interrupted."""

    def __init__(self, status: int, *, interrupted: bool = False) -> None:
        self.status = status
        self.interrupted = interrupted


def run(program: Callable[[], object], hidden: int) -> Outcome:
    """Run to the end, as the interpreter runs a script.

    Args:
        program: executes the script.
        hidden: how many frames of a traceback are ours.
    """
    try:
        program()
    except SystemExit as leave:
        return Outcome(_status(leave))
    except BaseException as error:  # noqa: BLE001 - this is the outermost frame
        trace = error.__traceback__
        for _ in range(hidden):
            trace = trace.tb_next if trace is not None else None
        error.__traceback__ = trace
        _show(error)
        return Outcome(1, interrupted=isinstance(error, KeyboardInterrupt))
    return Outcome(0)


def _status(leave: SystemExit) -> int:
    code = leave.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    try:
        sys.stdout.flush()
        sys.stderr.write(f"{code}\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - nobody can be told
        pass
    return 1


def _show(error: BaseException) -> None:
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as leave:
        raise leave from None
    except BaseException as worse:  # noqa: BLE001
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(worse), worse, worse.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, error.__traceback__)


def finish(outcome: Outcome) -> NoReturn:
    """End the process with everything done that a cold run does at its end."""
    status = outcome.status
    threading = sys.modules.get("threading")
    if threading is not None:
        guarded(threading._shutdown)
    atexit = sys.modules.get("atexit") or __import__("atexit")
    guarded(atexit._run_exitfuncs)
    if not _flush():
        status = _CANNOT_FLUSH
    _finalize()
    if not _flush(quiet=True):
        status = _CANNOT_FLUSH
    if outcome.interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(status)


def guarded(function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - told, as the interpreter tells it
        _unraisable(error, function)


def _unraisable(error: BaseException, source: object) -> None:
    sys.unraisablehook(_kind_of_details()((type(error), error, None, None, source)))


def _kind_of_details() -> Any:
    """The type of what ``sys.unraisablehook`` is given: it has no name, so one has to be caught."""

    class Fails:
        def __del__(self) -> None:
            raise ValueError

    caught: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, caught.append
    Fails()
    sys.unraisablehook = hook
    return type(caught.pop())


def _flush(*, quiet: bool = False) -> bool:
    """Flush both output streams; a failure to write output is told, and is the status."""
    fine = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except Exception as error:  # noqa: BLE001
            fine = False
            if name == "stdout" and not quiet:
                _unraisable(error, stream)
    return fine


def _finalize() -> None:
    """Finalize what was made since the fork: files are closed, and what has a ``__del__`` gets to it.

    What was imported before is frozen, and not looked at.
    """
    main = sys.modules.get("__main__")
    if main is not None:
        main.__dict__.clear()
    sys.last_type = sys.last_value = sys.last_traceback = None
    things = gc.get_objects()
    wanted = {kind for kind in set(map(type, things)) if hasattr(kind, "__del__")}
    if not wanted:
        return
    standard = {id(layer) for stream in (sys.stdin, sys.stdout, sys.stderr) for layer in _layers(stream)}
    for thing in things:
        if type(thing) in wanted and id(thing) not in standard:
            guarded(thing.__del__)


def _layers(stream: Any) -> list[Any]:
    """A stream and those below it."""
    layers = [stream]
    for name in ("buffer", "raw"):
        try:
            layers.append(getattr(layers[-1], name))
        except (AttributeError, ValueError):
            break
    return layers
