#!/bin/bash
# Apptainer for the tests: the machine's own, or else Debian's newest with a C library of its own, in a private directory.
#
#     apptainer.sh start     the program $APPTAINERLAB/bin/apptainer (also as `singularity`) and three images below
#                            $APPTAINERLAB/images: busybox.sif, busybox (a directory), python (a directory; where there
#                            is a Python). Made of programs of this machine: no registry of images is asked
#     apptainer.sh smoke     a command in each, and in an instance of each
#     apptainer.sh stop      ends the instances of this lab and removes it
#     apptainer.sh clean     removes what all labs share
#
# APPTAINERLAB names the directory of one lab (made, and removed by stop): its instances are seen only by its program.
# APPTAINERSTORE names what labs share: the program and the images, made once under a lock; .venv/apptainer by default, so
# that `make clean` removes it. Exits with 3 and a reason where none can run.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
LAB=${APPTAINERLAB:-${TMPDIR:-/tmp}/warmshell-apptainerlab}
STORE=${APPTAINERSTORE:-$HERE/../../${VENV:-.venv}/apptainer}
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=tests/backends/images.sh
. "$HERE/images.sh"

refuse() {
    echo "apptainer.sh: $*" >&2
    exit 3
}

# -- what labs share ----------------------------------------------------------------------------------------------------

prepare() {
    mkdir -p "$STORE"
    STORE=$(cd "$STORE" && pwd -P)
    exec 9>"$STORE/lock"
    flock 9
    [ -s "$STORE/program/path" ] || install
    [ -e "$STORE/images/ready" ] || images
    exec 9>&-
}

# Debian's package of a newer suite needs a newer C library than this machine may have: the program is made to use one
# that lies beside it. It looks for its configuration beside itself, so that nothing is put anywhere else.
install() {
    local own program=$STORE/program packages
    rm -rf "$program"
    mkdir -p "$program"
    if own=$(command -v apptainer || command -v singularity); then
        echo "$own" >"$program/path"
        return
    fi
    [ "$(uname -m)" = x86_64 ] || refuse "there is no apptainer, and this can fetch it for x86-64 only"
    for tool in apt-get dpkg-deb patchelf mksquashfs busybox; do
        command -v "$tool" >/dev/null || refuse "there is neither apptainer nor $tool to get it with"
    done
    packages=$(fetch) || refuse "Debian's package of apptainer cannot be fetched: ${packages##*$'\n'}"
    cp -a "$STORE/fetched/program/usr/." "$STORE/fetched/program/etc" "$STORE/fetched/program/var" "$program/"
    mkdir "$program/libc"
    cp -a "$STORE"/fetched/libc/usr/lib/x86_64-linux-gnu/*.so* "$program/libc/"
    for name in bin/apptainer lib/x86_64-linux-gnu/apptainer/bin/starter; do
        patchelf --set-interpreter "$program/libc/ld-linux-x86-64.so.2" \
            --set-rpath "$program/libc:/usr/lib/x86_64-linux-gnu" "$program/$name"
    done
    for name in bin etc var; do ln -s "../$name" "$program/lib/$name"; done # its two programs disagree where they are
    rm -rf "$STORE/fetched"
    echo "$program/bin/apptainer" >"$program/path"
}

# By apt's own client from the mirror that it is configured for; its own lists of packages are left as they are.
fetch() {
    local mirror suite work=$STORE/fetched
    rm -rf "$work"
    mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/$') || {
        echo "apt has no mirror of Debian"
        return 1
    }
    for suite in trixie sid; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$work/sources.list"
    cat >"$work/apt.conf" <<C
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
APT::Sandbox::User "";
C
    cd "$work"
    export APT_CONFIG=$work/apt.conf
    timeout 150 apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 update 2>&1 &&
        timeout 150 apt-get -qq download apptainer/sid libc6/trixie 2>&1 &&
        dpkg-deb -x apptainer_*.deb program && dpkg-deb -x libc6_*.deb libc
}

images() {
    local base=$STORE/images work=$STORE/trees
    rm -rf "$base" "$work"
    mkdir -p "$base" "$work"
    launcher "$work" "$work/config"
    busybox_tree "$work/busybox"
    build "$work" busybox.sif busybox
    build "$work" --sandbox busybox busybox
    if [ -x /usr/bin/python3 ]; then
        python_tree "$work/python"
        build "$work" --sandbox python python
    fi
    rm -rf "$work"
    touch "$base/ready"
}

# From a definition, which puts in what instances are started by.
build() { # DIRECTORY [--sandbox] IMAGE TREE
    local work=$1 kind=()
    shift
    [ "$1" != --sandbox ] || { kind=(--sandbox); shift; }
    mkdir -p "$work/$2"/{var/tmp,home}
    : >>"$work/$2/etc/hosts"
    : >>"$work/$2/etc/resolv.conf"
    printf 'Bootstrap: localimage\nFrom: %s\n%%startscript\n  exec sleep 1000000\n%%runscript\n  exec "$@"\n' "$work/$2" >"$work/definition"
    "$work/bin/apptainer" --silent build --force "${kind[@]}" "$STORE/images/$1" "$work/definition" >"$work/log" 2>&1 ||
        refuse "no image can be made: $(tail -n 1 "$work/log")"
}

# -- one lab ------------------------------------------------------------------------------------------------------------

launcher() { # DIRECTORY CONFIGURATION: a program with instances and a cache of its own
    local program drop=
    program=$(cat "$STORE/program/path")
    mkdir -p "$1/bin" "$2"
    chmod 1777 "$2"
    [ "$(id -u)" != 0 ] || drop=$(missing_capabilities)
    cat >"$1/bin/apptainer" <<C
#!/bin/sh
# What root lacks on this machine must not be asked for.
account=\$(id -u)
if test "\$account" = 0 && test -n "$drop"; then export APPTAINER_DROP_CAPS=$drop SINGULARITY_DROP_CAPS=$drop; fi
export APPTAINER_CONFIGDIR="$2/\$account" APPTAINER_CACHEDIR="$2/\$account/cache"
exec $program "\$@"
C
    chmod 755 "$1/bin/apptainer"
    ln -sf apptainer "$1/bin/singularity"
}

# Root may have been given less than everything, as in many containers.
missing_capabilities() {
    local had
    had=$((16#$(sed -n 's/^CapPrm:\t*//p' /proc/self/status)))
    [ "$((had >> 24 & 1))" = 1 ] || echo CAP_SYS_RESOURCE
}

start() {
    prepare
    mkdir -p "$LAB"
    chmod 755 "$LAB"
    launcher "$LAB" "$LAB/config"
    ln -sfn "$STORE/images" "$LAB/images"
    "$LAB/bin/apptainer" --silent exec "$LAB/images/busybox" true 2>"$LAB/log" ||
        refuse "apptainer runs nothing here: $(tail -n 1 "$LAB/log")"
}

smoke() {
    local image program=$LAB/bin/apptainer
    for image in "$LAB"/images/{busybox.sif,busybox,python}; do
        [ -e "$image" ] || continue
        echo "$(basename "$image"): $("$program" --silent exec "$image" sh -c 'echo "uid $(id -u), $(command -v python3)"')"
        "$program" --silent instance start "$image" smoke >/dev/null
        "$program" --silent exec instance://smoke sh -c 'read -r word; echo "  in an instance: $word"' <<<"$image"
        "$program" --silent instance stop smoke >/dev/null
    done
}

running() { find "$LAB/config" -path '*/instances/app/*' -name '*.json' 2>/dev/null || true; }

stop() {
    local found pid
    for found in $(running); do
        pid=$(sed -n 's/^{"pid":\([0-9]*\),.*/\1/p' "$found")
        [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true # its first process, so that all of it goes
    done
    for _ in $(seq 200); do
        [ -n "$(running)" ] || break
        sleep 0.025
    done
    rm -rf "$LAB"
}

clean() { rm -rf "$STORE"; }

"$@"
