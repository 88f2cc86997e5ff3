# ruff: noqa: T201
"""A coprocess with a will of its own: its first word says what it does."""

import os
import signal
import sys
import time

from warmshell.coprocess import serve

CALLS = []


def main(argv):
    CALLS.append(argv)
    what, *words = argv
    if what == "count":
        print(os.getpid(), len(CALLS))
    elif what == "kill":
        os.kill(os.getpid(), getattr(signal, words[0]))
        time.sleep(60)
    elif what == "exit":
        sys.stdout.write("last words")
        sys.stdout.flush()
        os._exit(int(words[0]))
    elif what == "raise":
        raise RuntimeError(words[0])
    elif what == "leave":
        sys.exit(words[0] if words[0].isalpha() else int(words[0]))
    elif what == "sleep":
        with open(words[0], "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(1000)
    elif what == "note":
        with open(words[0], "a") as file:
            file.write("x")
    elif what == "flood":
        sys.stdout.write("x" * int(words[0]))
    elif what == "copy":
        while data := sys.stdin.buffer.read(65536):
            sys.stdout.buffer.write(data)
    elif what == "one":
        sys.stdout.write(sys.stdin.readline())
    elif what == "eat":
        CALLS.append(bytearray(int(words[0])))
    elif what == "harm":
        os.chdir("/")
        os.environ["HARM"] = "1"
        os.umask(0)
        sys.argv.append("harm")
        os.close(0)
    elif what == "show":
        print(os.getcwd(), os.environ.get("HARM"), oct(os.umask(0o22)), sys.argv[1:])
    elif what == "fds":
        print(sorted(os.listdir("/proc/self/fd"), key=int)[:3], len(os.listdir("/proc/self/fd")))
    elif what == "env":
        print(sorted(name for name in os.environ if name.startswith("FCLI")))
    elif what == "response":  # a hostile one: it writes to the client itself
        for fd in os.listdir("/proc/self/fd"):
            try:
                if "response" in os.readlink(f"/proc/self/fd/{fd}"):
                    os.write(int(fd), words[0].encode().decode("unicode_escape").encode())
            except OSError:
                continue
        time.sleep(1000)
    return 0


if __name__ == "__main__":
    sys.exit(serve(main, fork="FORK" in os.environ))
