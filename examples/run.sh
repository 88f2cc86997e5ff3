#!/bin/sh
# warm run: one command, with its own status and its own streams.
set -u

warm run -- printf '%s\n' "it's exact"
echo 'b a' | tr ' ' '\n' | warm run -- sort
warm run --cwd / --env COLOUR=blue -c 'pwd; echo $COLOUR'
warm run -- sh -c 'exit 3'; echo "status $?"
warm run --timeout 0.5 -- sleep 1000 2>/dev/null; echo "status $?"

# prints:
# it's exact
# a
# b
# /
# blue
# status 3
# status 124
