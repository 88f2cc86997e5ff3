#!/bin/sh
# Python tools that the tests of the fork server and its benchmark run: each set in an environment of its own, below
# .venv/tools. Made once; what cannot be installed within the time is tried again by the next run, and its tests are
# skipped and say so. It never fails.
#
#     tests/setup/tools.sh [SECONDS]
set -u

cd "$(dirname "$0")/../.." || exit 0
venv=${VENV:-.venv}
left=${1:-300}
log=$venv/tools/install.log

sets='
code black[d] yamllint pygments mypy httpie
aws awscli
cfn cfn-lint
sql sqlfluff
ansible ansible-core
sphinx sphinx
'

say() { printf 'tools: %s\n' "$*" >&2; }

install() { # NAME PACKAGE…
    name=$1
    place=$venv/tools/$1
    shift
    rm -rf "$place"
    if command -v uv >/dev/null; then
        uv venv --quiet --seed --python "$venv/bin/python" "$place" && uv pip install --quiet --python "$place/bin/python" "$@"
    else
        "$venv/bin/python" -m venv "$place" && "$place/bin/python" -m pip --disable-pip-version-check --quiet install "$@"
    fi && touch "$place/.ready"
}

if [ "${2:-}" = --install ]; then
    shift 2
    install "$@"
    exit
fi

mkdir -p "$venv/tools"
end=$(($(date +%s) + left))
printf '%s\n' "$sets" | while read -r name packages; do
    if [ -z "$name" ] || [ -e "$venv/tools/$name/.ready" ]; then continue; fi
    left=$((end - $(date +%s)))
    if [ "$left" -le 0 ]; then
        say "no time is left for $name; its tests are skipped"
        continue
    fi
    say "installing $packages"
    # shellcheck disable=SC2086 # words
    timeout "$left" tests/setup/tools.sh "$left" --install "$name" $packages >"$log" 2>&1 </dev/null ||
        say "$name could not be installed (see $log); its tests are skipped"
done
