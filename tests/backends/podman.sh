#!/bin/bash
# Podman of the tests' own: a program that keeps all of its storage in one directory, and touches nothing else.
#
#     podman.sh start     $PODMANLAB/bin/podman, with the images of docker.sh; status 3 and a reason where it runs nothing
#     podman.sh smoke     a command in a container
#     podman.sh stop      ends the containers, and removes the directory
set -euo pipefail
LAB=${PODMANLAB:-${TMPDIR:-/tmp}/warmshell-podmanlab}
SCRIPTS=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

need() {
    for program in podman conmon busybox; do
        command -v "$program" >/dev/null || { echo "podman.sh: there is no $program" >&2; exit 3; }
    done
    [ "$(id -u)" = 0 ] || { echo "podman.sh: it is tried as root only" >&2; exit 3; }
}

start() {
    need
    mkdir -p "$LAB/home" "$LAB/bin"
    for runtime in crun runc; do
        command -v "$runtime" >/dev/null || continue
        cat >"$LAB/containers.conf" <<END
[containers]
netns = "none"
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "$runtime"
END
        cat >"$LAB/bin/podman" <<END
#!/bin/sh
unset DOCKER_CONFIG # it reads that too, and wants what it names to be complete
export HOME='$LAB/home' CONTAINERS_CONF='$LAB/containers.conf'
exec $(command -v podman) --root '$LAB/root' --runroot '$LAB/run' --tmpdir '$LAB/tmp' --storage-driver vfs "\$@"
END
        chmod +x "$LAB/bin/podman"
        "$LAB/bin/podman" image inspect warm/busybox:1 >/dev/null 2>&1 || images || continue
        ! smoke >/dev/null 2>"$LAB/said" || return 0
    done
    echo "podman.sh: it starts no container here: $(tail -n 1 "$LAB/said" 2>/dev/null || echo 'neither crun nor runc')" >&2
    stop
    exit 3
}

images() {
    ENGINE=$LAB/bin/podman DOCKERLAB=$LAB "$SCRIPTS/docker.sh" busybox_image 2>"$LAB/said"
    [ ! -x /usr/bin/python3 ] || ENGINE=$LAB/bin/podman DOCKERLAB=$LAB "$SCRIPTS/docker.sh" python_image 2>"$LAB/said"
}

smoke() { "$LAB/bin/podman" run --rm --network none warm/busybox:1 echo works; }

stop() {
    [ ! -x "$LAB/bin/podman" ] || "$LAB/bin/podman" rm --all --force --time 0 >/dev/null 2>&1 || true
    { grep -o " $LAB/[^ ]*" /proc/mounts || true; } | while read -r mount; do umount "$mount" || true; done
    rm -rf "$LAB"
}

"$@"
