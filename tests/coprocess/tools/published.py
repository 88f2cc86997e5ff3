# ruff: noqa: T201, SIM115
"""A tool as the published proposal has it: main() in a loop, JSON, and nothing of what was added since."""

import json
import os
import sys


def main(argv):
    print("out", *argv[1:])
    print("err", file=sys.stderr)
    if argv[1:2] == ["input"]:
        print(sys.stdin.read())
    if argv[1:2] == ["quit"]:
        sys.exit(123)
    return len(argv) - 1


if "FCLI_VERSION" in os.environ:
    requests, responses = open(os.environ["FCLI_REQUEST_FIFO"]), open(os.environ["FCLI_RESPONSE_FIFO"], "w")
    for line in requests:
        request = json.loads(line)
        if "argv" in request:
            status = main(request["argv"])
        elif "flush" in request and os.environ.get("KNOWS") == "flush":
            sys.stdout.flush()
            status = 0
        elif os.environ.get("KNOWS") == "nothing":
            raise KeyError("argv")
        else:
            status = 1
        if os.environ.get("KNOWS") != "flush":
            sys.stdout.flush()
        json.dump({"status": status}, responses)
        responses.write("\n")
        responses.flush()
else:
    sys.exit(main(sys.argv))
