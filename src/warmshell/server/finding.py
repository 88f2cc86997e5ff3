"""How the socket of a detachable session is found: texts of programs, for the server and for those that look for it."""

from __future__ import annotations

SOCKET = "s"
"""The socket in the directory of a detachable session."""

PLACES = """
import os
cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
places = [os.path.join(cache, "warmshell"), "/tmp/warmshell-%d" % os.getuid()]
places = [place for place in places if os.path.isabs(place)]
"""
"""Where such directories are. Not in ``XDG_RUNTIME_DIR``, which is removed when its user's last login ends."""

_FIND = (
    PLACES
    + """
import array, socket, struct, sys
def mine(path):
    found = os.lstat(path)
    return found.st_uid == os.getuid() and not found.st_mode & 0o022
def connect(place, session):
    path = os.path.join(place, session)
    if not mine(place) or not mine(path):
        raise OSError("not mine")
    os.chdir(path)
    far = socket.socket(socket.AF_UNIX)
    far.settimeout(10)
    far.connect("s")
    if struct.unpack("3i", far.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] != os.getuid():
        raise OSError("not mine")
    return far
def join(far):
    far.settimeout(None)
    far.sendmsg([b"a"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1]))])
    os.close(0); os.close(1)
    try:
        far.recv(1)
    finally:
        os._exit(0)
"""
)

ATTACH = (
    _FIND
    + """
hello, session = "\\nwarmshell-hello %s " % sys.argv[2], sys.argv[3]
for place in places:
    try:
        far = connect(place, session)
    except OSError:
        continue
    os.write(1, (hello + "attach\\n").encode())
    join(far)
os.write(1, (hello + "gone\\n").encode())
"""
)
"""Hands its streams over to a session: its third argument. ``gone``: there is none."""

LIST = (
    _FIND
    + """
hello = "\\nwarmshell-hello %s " % sys.argv[2]
os.write(1, (hello + "sessions\\n").encode())
for place in places:
    for session in sorted(os.listdir(place)) if os.path.isdir(place) else ():
        try:
            far = connect(place, session)
            far.sendall(b"?")
            said = b""
            while not said.endswith(b"\\n"):
                piece = far.recv(65536)
                if not piece:
                    break
                said += piece
            os.write(1, said)
        except OSError:
            pass
"""
)
"""Prints what every session of this account on this host says of itself, a line of JSON each."""

JOIN = (
    _FIND
    + """
join(connect(os.path.dirname(directory), os.path.basename(directory)))
"""
)
"""Hands this process's streams over to the session of ``directory`` and waits until they are not needed any more."""
