#!/bin/bash
# A Docker daemon of the tests' own, without systemd and without touching the machine's: one socket, no network.
#
#     docker.sh start     dockerd on $DOCKERLAB/docker.sock, with the images warm/busybox:1 and, where there is a Python,
#                         warm/python:1 (both made of programs of this machine: no registry is asked)
#     docker.sh smoke     a command in a container of each
#     docker.sh stop      ends the containers and the daemon, and removes the directory
#
# DOCKERLAB names the directory (made, and removed by stop): two labs at once need two. Clients are told where it is by
# DOCKER_HOST=unix://$DOCKERLAB/docker.sock.
set -euo pipefail
LAB=${DOCKERLAB:-${TMPDIR:-/tmp}/warmshell-dockerlab}
ENGINE=${ENGINE:-docker} # what takes the images: podman.sh has another one
export DOCKER_HOST=unix://$LAB/docker.sock
PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=tests/backends/images.sh
. "$(dirname "$0")/images.sh"

need() {
    for program in dockerd docker busybox; do
        command -v "$program" >/dev/null || { echo "docker.sh: there is no $program" >&2; exit 3; }
    done
    [ "$(id -u)" = 0 ] || { echo "docker.sh: only root can start this daemon" >&2; exit 3; }
}

alive() { [ -s "$LAB/pid" ] && kill -0 "$(cat "$LAB/pid")" 2>/dev/null; }

start() {
    need
    mkdir -p "$LAB"
    alive || launch
    docker image inspect warm/busybox:1 >/dev/null 2>&1 || busybox_image
    docker image inspect warm/python:1 >/dev/null 2>&1 || [ ! -x /usr/bin/python3 ] || python_image
}

launch() {
    rm -f "$LAB/pid"
    # Containers are stacked on overlays where those can be had: on an overlay of somebody else's they cannot.
    for storage in overlay2 vfs; do
        env -i PATH="$PATH" setsid --fork dockerd --data-root "$LAB/data" --exec-root "$LAB/exec" --pidfile "$LAB/pid" -H "$DOCKER_HOST" \
            --storage-driver "$storage" --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
            --ip-masq=false </dev/null >"$LAB/log" 2>&1
        for _ in $(seq 600); do
            ! docker version >/dev/null 2>&1 || return 0
            ! grep -q 'failed to start daemon' "$LAB/log" || break
            sleep 0.05
        done
    done
    echo "docker.sh: dockerd did not start: $(tail -n 3 "$LAB/log")" >&2
    exit 3
}

busybox_image() {
    busybox_tree "$LAB/busybox"
    tar -C "$LAB/busybox" -c . | "$ENGINE" import -c 'ENV PATH=/bin:/usr/bin' -c 'CMD ["/bin/sh"]' - warm/busybox:1 >/dev/null
    rm -rf "$LAB/busybox"
}

python_image() {
    python_tree "$LAB/python"
    tar -C "$LAB/python" -c . | "$ENGINE" import -c 'ENV PATH=/usr/bin' -c 'CMD ["/bin/sh"]' - warm/python:1 >/dev/null
    rm -rf "$LAB/python"
}

smoke() {
    for image in $(docker image ls --format '{{.Repository}}:{{.Tag}}'); do
        docker run --rm -i --network none "$image" sh -c 'read -r word; echo "$word, $(sh -c "command -v python3")"' <<<"$image"
    done
}

stop() {
    if alive; then
        docker ps -aq | while read -r id; do docker rm -f "$id" >/dev/null; done
        kill "$(cat "$LAB/pid")"
        for _ in $(seq 400); do
            alive || break
            sleep 0.025
        done
    fi
    { grep -o " $LAB/[^ ]*" /proc/mounts || true; } | while read -r mount; do umount "$mount" || true; done
    rm -rf "$LAB"
}

"$@"
