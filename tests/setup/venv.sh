#!/bin/sh
# Makes .venv ready: the package, editable, with the dependency groups named as arguments.
#
#     tests/setup/venv.sh [GROUP…]
#
# uv is used where it is present, else venv and pip. PYTHON names the interpreter; otherwise one of
# version 3.11 or later is looked for. VENV names the directory; .venv by default.
set -eu

cd "$(dirname "$0")/../.."
venv=${VENV:-.venv}

say() { printf 'set-up: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

recent='import sys; sys.exit(sys.version_info < (3, 11))'
is_recent() { "$1" -c "$recent" >/dev/null 2>&1; } # starting it is the only sure test: a shim may lead nowhere

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_recent "$PYTHON" || fail "PYTHON=$PYTHON is not a Python of version 3.11 or later"
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if is_recent "$name"; then
            echo "$name"
            return
        fi
    done
    return 1
}

is_debian_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 && apt-get install -y -qq --no-install-recommends "$@" >&2
}

need_python() {
    if python=$(find_python); then
        return
    fi
    [ -z "${PYTHON:-}" ] || exit 1
    if is_debian_root && apt_install python3 python3-venv && python=$(find_python); then
        return
    fi
    fail "no Python of version 3.11 or later was found. Install one (Debian 12 and later:" \
        "apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3.12 …"
}

# Debian keeps what venv needs in a package of its own.
need_ensurepip() {
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        return
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if is_debian_root && apt_install "python$version-venv"; then
        return
    fi
    fail "$python cannot make virtual environments. Install uv, or what is missing (Debian: as root," \
        "apt install python$version-venv)"
}

make_venv() {
    if is_recent "$venv/bin/python"; then
        return
    fi
    say "making $venv"
    if command -v uv >/dev/null; then
        # uv brings an interpreter of its own where there is none.
        uv venv --quiet --allow-existing --python "${PYTHON:->=3.11}" "$venv"
    else
        need_python
        need_ensurepip
        "$python" -m venv --clear "$venv"
    fi
}

with_uv() {
    uv pip install --quiet --python "$venv/bin/python" --editable . $groups
}

with_pip() {
    pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        "$venv/bin/python" -m ensurepip >/dev/null # a venv that uv made
    fi
    if ! $pip install --help 2>/dev/null | grep -q -- --group; then
        $pip install --upgrade 'pip>=25.1' # the first that knows dependency groups
    fi
    $pip install --editable . $groups
}

make_venv
say "installing warmshell${1:+ with what it needs for: $*}"
groups=
for group; do groups="$groups --group $group"; done
if command -v uv >/dev/null; then with_uv; else with_pip; fi
