"""The own-pipes framing: every command writes to pipes of its own, so that nothing is ever in band.

The warm shell opens the driver's pipes through ``/proc/PID/fd/N`` (proc_pid_fd(5)): opening a pipe there gives a new
open file of it, for writing also where the driver itself holds only the reading end. A pipe whose reader sees the end
of file after the command has therefore no other writer left and serves the next command; a pipe that a background
child still holds is given up with it. The status goes to a separate pipe, the shell's descriptor 9.

A builtin leaves no child behind, so it needs none of this: it writes to one more pipe, which the shell keeps open as
its descriptor 8. To open one through ``/proc`` takes as long as all the rest that the shell does for a builtin.
"""

from __future__ import annotations

from .request import Frame

BUILTIN = b">&8"
"""Where a builtin writes."""
NO_BUILTINS = b"exec 8>&-\n"
"""Takes its descriptor 8 away from a shell that keeps a state: there it is its user's."""


def pipe_frame(stdin: bytes, stdout: bytes, stderr: bytes, *, builtins: bool = True) -> Frame:
    """The frame of a command with these redirections; reports go to descriptor 9.

    Args:
        stdin: the redirection of standard input.
        stdout: that of standard output.
        stderr: that of standard error.
        builtins: whether the shell has a pipe for builtins.
    """
    return Frame(stdin, stdout, stderr, b"9>&- 8>&-" if builtins else b"9>&-", b"\\command echo ", b" >&9")


def proc_fd(pid: int, fd: int) -> bytes:
    """The name under which another process of the same user opens a descriptor of process ``pid``."""
    return b"/proc/%d/fd/%d" % (pid, fd)


def init(pid: int, status_fd: int, builtin_fd: int) -> bytes:
    """Makes the driver's status pipe the shell's descriptor 9, and the pipe for builtins its descriptor 8."""
    return b"exec 9>%s 8>%s;" % (proc_fd(pid, status_fd), proc_fd(pid, builtin_fd))
