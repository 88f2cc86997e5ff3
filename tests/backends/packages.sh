#!/bin/sh
# The programs that tests use where they are present. Every test that misses one is skipped and says so.
#
#     packages.sh           installs the Debian packages of those that are missing, where that is possible
#     packages.sh --report  only says which are missing
#
# It never fails: without a right to install, or without a network, it says what was skipped and goes on.
set -u
PATH=$PATH:/usr/sbin:/sbin # where daemons are, which not every user's PATH has

# program:package:what for
programs='
dash:dash:shell
bash:bash:shell
busybox:busybox:shell (ash)
zsh:zsh:shell
ksh:ksh:shell (ksh93)
mksh:mksh:shell
ps:procps:what the examples and some tests show of processes
setsid:util-linux:sessions that commands make of their own
sudo:sudo:user= as another account
parallel:parallel:the comparison of warm map with GNU parallel
script:bsdutils:tests on a terminal
ssh:openssh-client:SSH hosts
sshd:openssh-server:tests of SSH hosts
bwrap:bubblewrap:tests of locations inside of others
ip:iproute2:tests over a slow link
perl:perl-base:tests of SSH hosts (accounts with a password)
tcsh:tcsh:tests of SSH hosts (a login shell that is no POSIX shell)
patchelf:patchelf:tests of Apptainer
mksquashfs:squashfs-tools:tests of Apptainer
dockerd:docker.io:tests of containers
docker:docker.io:tests of containers
podman:podman:tests of containers of Podman
etcd:etcd-server:tests of Kubernetes
kubectl:kubernetes-client:tests of Kubernetes
openssl:openssl:tests of Kubernetes
'

say() { printf 'packages: %s\n' "$*" >&2; }

missing() {
    printf '%s\n' "$programs" | while IFS=: read -r program package purpose; do
        if [ -n "$program" ] && ! command -v "$program" >/dev/null; then
            printf '%s:%s:%s\n' "$program" "$package" "$purpose"
        fi
    done
}

# Compose is fetched here once, so that no test has to wait for it.
compose() { timeout 180 "$(dirname "$0")/compose.sh" plugin 2>&1 >/dev/null | while read -r why; do say "$why"; done; }

report() {
    missing | while IFS=: read -r program package purpose; do
        say "not here, so its tests are skipped: $program ($purpose; Debian package $package)"
    done
}

install() {
    packages=$(missing | cut -d: -f2 | sort -u | tr '\n' ' ')
    [ -n "$packages" ] || return 0
    if ! command -v apt-get >/dev/null; then
        say "no apt-get here: nothing is installed"
        return 0
    fi
    become=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
            say "not root, and no sudo without a password: nothing is installed"
            return 0
        fi
        become='sudo -n'
    fi
    case " $packages" in
    *' openssh-server '* | *' docker.io '* | *' etcd-server '*)
        # Installing a server must not open one to the world: its package starts it where a service manager runs.
        if [ -d /run/systemd/system ]; then
            say "openssh-server, docker.io and etcd-server are not installed here, as they would be started;" \
                "install them yourself"
            packages=$(printf '%s' "$packages" | sed 's/openssh-server //; s/docker\.io //; s/etcd-server //')
        elif [ ! -e /usr/sbin/policy-rc.d ]; then
            printf '#!/bin/sh\nexit 101\n' | $become tee /usr/sbin/policy-rc.d >/dev/null
            $become chmod 755 /usr/sbin/policy-rc.d
            policy=ours
        fi
        ;;
    esac
    say "installing $packages"
    $become apt-get update -qq >&2 || say "the package lists could not be updated"
    for package in $packages; do # one at a time: one that does not exist must not keep the others out
        $become env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 </dev/null ||
            say "could not be installed: $package"
    done
    [ -z "${policy:-}" ] || $become rm -f /usr/sbin/policy-rc.d
}

if [ "${1:-}" != --report ]; then
    install
    compose
fi
report
