"""Start once, run many: persistent shells, a bounded pool and exact bytes.

Everything public is re-exported here and imported on first use, so that ``import warmshell`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmshell.attached import Attached
    from warmshell.command import Command, Output, Result
    from warmshell.connector import connect
    from warmshell.deployment.file import Deployment, DeploymentFile, DeploymentFileError
    from warmshell.deployment.manager import DeploymentManager
    from warmshell.detached import SessionInfo, attach, end_session, sessions
    from warmshell.errors import (
        ArchiveError,
        AuthenticationError,
        BusyError,
        ClosedError,
        CommandError,
        CommandFailed,
        CommandTimeout,
        CommandTooLong,
        ConnectError,
        CopyError,
        HostKeyError,
        IncompleteStream,
        InputError,
        LocationError,
        NotSupported,
        OutputError,
        ProgramNotFound,
        ShellLost,
        WarmshellError,
        WorkdirError,
        WorkdirNotADirectory,
        WorkdirNotFound,
    )
    from warmshell.fileops import FileError
    from warmshell.location import Location
    from warmshell.path import RemotePath
    from warmshell.pool import Pool
    from warmshell.process import Process
    from warmshell.shell import Shell
    from warmshell.shell.detachable import Detach, SessionLeft
    from warmshell.transfer.api import copy
    from warmshell.transfer.options import Copied
    from warmshell.transfer.progress import Progress
    from warmshell.transfer.streams import StreamReader, StreamWriter

__version__ = "0.1.0"

_HOME = {
    "FileError": "fileops", "RemotePath": "path",
    "Attached": "attached", "Detach": "shell.detachable", "SessionInfo": "detached", "SessionLeft": "shell.detachable",
    "attach": "detached", "end_session": "detached", "sessions": "detached",
    "Command": "command", "Output": "command", "Result": "command",
    "Deployment": "deployment.file", "DeploymentFile": "deployment.file", "DeploymentFileError": "deployment.file",
    "DeploymentManager": "deployment.manager",
    "connect": "connector", "Location": "location", "Pool": "pool", "Process": "process", "Shell": "shell",
    "ArchiveError": "errors", "CopyError": "errors", "IncompleteStream": "errors",
    "AuthenticationError": "errors", "HostKeyError": "errors",
    "copy": "transfer.api", "Copied": "transfer.options", "Progress": "transfer.progress",
    "StreamReader": "transfer.streams", "StreamWriter": "transfer.streams",
    "BusyError": "errors", "ClosedError": "errors", "CommandError": "errors", "CommandFailed": "errors",
    "CommandTimeout": "errors", "CommandTooLong": "errors", "ConnectError": "errors", "InputError": "errors",
    "LocationError": "errors", "NotSupported": "errors", "OutputError": "errors", "ProgramNotFound": "errors",
    "ShellLost": "errors", "WarmshellError": "errors", "WorkdirError": "errors", "WorkdirNotADirectory": "errors",
    "WorkdirNotFound": "errors",
}  # fmt: skip

__all__ = [
    "ArchiveError",
    "Attached",
    "AuthenticationError",
    "BusyError",
    "ClosedError",
    "Command",
    "CommandError",
    "CommandFailed",
    "CommandTimeout",
    "CommandTooLong",
    "ConnectError",
    "Copied",
    "CopyError",
    "Deployment",
    "DeploymentFile",
    "DeploymentFileError",
    "DeploymentManager",
    "Detach",
    "FileError",
    "HostKeyError",
    "IncompleteStream",
    "InputError",
    "Location",
    "LocationError",
    "NotSupported",
    "Output",
    "OutputError",
    "Pool",
    "Process",
    "ProgramNotFound",
    "Progress",
    "RemotePath",
    "Result",
    "SessionInfo",
    "SessionLeft",
    "Shell",
    "ShellLost",
    "StreamReader",
    "StreamWriter",
    "WarmshellError",
    "WorkdirError",
    "WorkdirNotADirectory",
    "WorkdirNotFound",
    "attach",
    "connect",
    "copy",
    "end_session",
    "sessions",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'warmshell' has no attribute {name!r}")
    value = getattr(import_module(f"warmshell.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
