#!/bin/sh
# A coprocess in POSIX sh: its words, then its input in capitals; status = how many words.
. "$(dirname "$0")/../../src/warmshell/coprocess/warmshell.sh"

main() {
    if [ "${1-}" = --where ]; then
        echo "$PWD ${COLOUR:-none}"
        return 0
    fi
    echo "$*"
    tr '[:lower:]' '[:upper:]'
    echo "$# words" >&2
    return $#
}

warm_serve main "$@"
