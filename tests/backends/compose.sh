#!/bin/bash
# Compose v2 for the docker command: prints the directory that DOCKER_CONFIG has to name, or nothing if docker has it.
#
#     compose.sh plugin     finds it, or fetches it once into a directory of the user's cache; no daemon is needed
#
# Debian 12 has only version 1, so its package of a later Debian is taken apart, which needs no more than a libc; apt
# fetches it from where this machine's own packages come from. Where none can be had: a reason, and status 3.
set -euo pipefail
CACHE=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/warmshell-tests/compose
PLUGIN=$CACHE/cli-plugins/docker-compose

sorry() { echo "compose.sh: there is no docker compose, and $*" >&2; exit 3; }

plugin() {
    command -v docker >/dev/null || { echo "compose.sh: there is no docker" >&2; exit 3; }
    ! docker compose version >/dev/null 2>&1 || return 0
    mkdir -p "$CACHE"
    ( flock 9; works || fetch ) 9>"$CACHE/lock"
    echo "$CACHE"
}

works() { [ -x "$PLUGIN" ] && DOCKER_CONFIG=$CACHE docker compose version >/dev/null 2>&1; }

fetch() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || sorry "no apt to fetch it with"
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/$') || sorry "apt has no Debian to ask"
    made=$(mktemp -d) # not local: the trap is for the end of the shell
    trap 'rm -rf "$made"' EXIT
    mkdir -p "$made"/{lists/partial,cache/archives/partial} "$CACHE/cli-plugins"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$made/sources"
    cat >"$made/apt" <<END
Acquire::Check-Valid-Until "false";
Dir::Etc::sourcelist "$made/sources";
Dir::Etc::sourceparts "-";
Dir::State::lists "$made/lists";
Dir::Cache "$made/cache";
APT::Sandbox::User "";
END
    export APT_CONFIG=$made/apt
    cd "$made"
    { apt-get update -qq && apt-get download -qq docker-compose; } >"$made/said" 2>&1 ||
        sorry "apt cannot fetch it: $(tail -n 1 "$made/said")"
    dpkg-deb -x docker-compose_*.deb unpacked
    find unpacked -name docker-compose -type f -perm -u+x -exec cp {} "$PLUGIN" \;
    works || sorry "what was fetched does not run"
}

"$@"
