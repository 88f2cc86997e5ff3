"""The first program of the far end: it says hello, takes the server from standard input and runs it from memory."""

from __future__ import annotations

PROGRAM = """
import _frozen_importlib as f, json, os, sys, zlib
def take(size):
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            os._exit(1)
        data += piece
    return data
os.write(1, ("\\nwarmshell-hello %s python %d.%d.%d\\n" % ((sys.argv[2],) + sys.version_info[:3])).encode())
size = int.from_bytes(take(4), "big")
sources = json.loads(zlib.decompress(take(size & 0x7fffffff)).decode())
options = json.loads(take(int.from_bytes(take(4), "big")).decode()) if size >> 31 else None
class Far:
    def find_spec(self, name, path=None, target=None):
        if name in sources:
            return f.ModuleSpec(name, self, origin="<" + name + ">", is_package=not sources[name][0])
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        name = module.__name__
        exec(compile(sources[name][1], "<" + name + ">", "exec"), module.__dict__)
sys.meta_path.insert(0, Far())
del sys.argv[1:]
from warmshell.server.main import main
main(options)
"""
"""Reads what :func:`warmshell.server.pack.archive` makes; its second argument is the token of the hello."""

CHECK = (
    "import sys,os,zlib,json,select,fcntl,resource,_thread;select.epoll;os.pipe2;os.posix_spawn;"
    "os.close(os.open(os.path.join(os.sep,os.curdir),0));"
    "1/(int(os.readlink(bytes((47,112,114,111,99,47,115,101,108,102))))==os.getpid());print(sys.executable)"
)
"""Prints where a suitable Python is, without a quote; anything less has no ``posix_spawn`` (3.8) or no ``epoll``.

Nor is one suitable where ``/proc`` is missing, or tells of another PID namespace than the one it is in: processes there
could neither be given pipes nor be ended.
"""

OPTIONS_FOLLOW = 1 << 31
"""Added to the length of the archive when ``u32 length · JSON`` follows it: options that are needed from the start."""
