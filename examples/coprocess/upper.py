#!/usr/bin/env python3
"""A filter that is a coprocess with one line: its words, then its input in capitals; status = how many words."""

import os
import sys

from warmshell.coprocess import serve


def main(argv: list[str]) -> int:
    if argv[:1] == ["--where"]:
        print(os.getcwd(), os.environ.get("COLOUR", "none"))
        return 0
    print(*argv)
    for line in sys.stdin:
        print(line.rstrip("\n").upper())
    print(f"{len(argv)} words", file=sys.stderr)
    return len(argv)


if __name__ == "__main__":
    sys.exit(serve(main))
