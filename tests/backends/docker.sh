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
export DOCKER_HOST=unix://$LAB/docker.sock
PATH=$PATH:/usr/sbin:/sbin

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
    local root=$LAB/busybox
    mkdir -p "$root"/{bin,etc,tmp,root,proc,sys,dev,usr/bin}
    chmod 1777 "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    { ldd "$root/bin/busybox" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
        cp -L --parents "$library" "$root/" # none, if it is linked statically
    done || true
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    tar -C "$root" -c . | docker import -c 'ENV PATH=/bin:/usr/bin' -c 'CMD ["/bin/sh"]' - warm/busybox:1 >/dev/null
    rm -rf "$root"
}

# The machine's own Python, shells and tools with the libraries that they ask for.
python_image() {
    local root=$LAB/python tool
    mkdir -p "$root"/{etc,tmp,root,proc,sys,dev,run,usr/bin,usr/lib,usr/lib64}
    chmod 1777 "$root/tmp"
    for name in bin lib lib64; do ln -s "usr/$name" "$root/$name"; done
    for tool in python3 dash bash tar gzip setsid awk $(dpkg-query -L coreutils findutils grep sed procps 2>/dev/null |
        sed -n 's|^\(/usr\)\{0,1\}/bin/||p'); do
        [ -x "/usr/bin/$tool" ] || continue
        cp -L "/usr/bin/$tool" "$root/usr/bin/$tool"
        ldd "/usr/bin/$tool" 2>/dev/null | grep -o '/[^ ]*' || true
    done | sort -u | while read -r library; do cp -L --parents "$library" "$root/"; done
    ln -s dash "$root/usr/bin/sh"
    cp -a --parents "$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')" "$root/"
    rm -rf "$root"/usr/lib/python3*/{test,idlelib,ensurepip,lib2to3,config-*,dist-packages,site-packages}
    find "$root" -name __pycache__ -type d -prune -exec rm -rf {} +
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    tar -C "$root" -c . | docker import -c 'ENV PATH=/usr/bin' -c 'CMD ["/bin/sh"]' - warm/python:1 >/dev/null
    rm -rf "$root"
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
