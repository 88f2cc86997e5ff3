#!/bin/bash
# Real OpenSSH servers on a loopback address, without systemd and without touching the machine's own sshd or accounts.
#
#     ssh.sh start                    hostA, hostB, and hostB-via-A (the same hostB through hostA)
#     ssh.sh host NAME [OPTION…]      one more host; every OPTION is a line of its sshd_config ('MaxSessions 1')
#     ssh.sh smoke                    a command on each
#     ssh.sh stop                     ends every process of this lab, also those of its sessions, and removes it
#
# SSHLAB names the directory (made, and removed by stop), SSHLAB_ADDRESS the address: two labs at once need two of each.
# `ssh -F $SSHLAB/config HOST` reaches a host as root, `-l ACCOUNT` as one of the accounts in $SSHLAB/etc/passwd, which
# only these servers see (each runs in a mount namespace of its own, where it lies over the machine's file):
#     warm-dash warm-bash warm-busybox warm-zsh warm-tcsh    by login shell; those that are not installed are left out
#     root             with a home and a shell (sh) of its own
#     warm-noisy       bash; its start-up file is slow and writes to both streams
#     warm-quiet       as warm-dash, but no Python is on its PATH
#     warm-password    its password is in $SSHLAB/password; keys are refused
set -euo pipefail
LAB=${SSHLAB:-${TMPDIR:-/tmp}/warmshell-sshlab}
ADDRESS=${SSHLAB_ADDRESS:-127.0.0.2}
FIRST_PORT=2201
SSHD=$(command -v sshd || echo /usr/sbin/sshd)

need() {
    for program in "$SSHD" ssh ssh-keygen unshare perl; do
        command -v "$program" >/dev/null || { echo "ssh.sh: there is no $program" >&2; exit 3; }
    done
    [ "$(id -u)" = 0 ] || { echo "ssh.sh: only root can start these servers" >&2; exit 3; }
    unshare --mount true 2>/dev/null || { echo "ssh.sh: no mount namespaces here" >&2; exit 3; }
}

# -- accounts -----------------------------------------------------------------------------------------------------------

account() { # NAME UID SHELL [HASH]
    [ -x "$3" ] || return 0
    mkdir -p "$LAB/home/$1"
    chown "$2:$2" "$LAB/home/$1"
    echo "$1:x:$2:$2::$LAB/home/$1:$3" >>"$LAB/etc/passwd"
    echo "$1:${4:-*}:19000:0:99999:7:::" >>"$LAB/etc/shadow"
    echo "$1:x:$2:" >>"$LAB/etc/group"
}

accounts() {
    mkdir -p "$LAB/etc" "$LAB/home" "$LAB/shells"
    cp /etc/shadow /etc/group "$LAB/etc/"
    mkdir -p "$LAB/home/root" # so that the machine's own start-up files do not matter
    sed "s|^root:.*|root:x:0:0:root:$LAB/home/root:/bin/sh|" /etc/passwd >"$LAB/etc/passwd"
    chmod 600 "$LAB/etc/shadow"
    getent passwd sshd >/dev/null || echo 'sshd:x:74:65534::/run/sshd:/usr/sbin/nologin' >>"$LAB/etc/passwd"
    ln -sf "$(command -v busybox || echo /nowhere)" "$LAB/shells/sh" # an applet is chosen by the name that it is called by
    account warm-dash 61001 /bin/dash
    account warm-bash 61002 /bin/bash
    account warm-busybox 61003 "$LAB/shells/sh"
    account warm-zsh 61004 /bin/zsh
    account warm-tcsh 61005 /bin/tcsh
    account warm-noisy 61006 /bin/bash
    account warm-quiet 61007 /bin/dash
    printf 'p%s' "$RANDOM$RANDOM" >"$LAB/password"
    chmod 600 "$LAB/password"
    account warm-password 61008 /bin/dash "$(perl -e 'print crypt(<STDIN>, q($6$warm$))' <"$LAB/password")"
    cat >"$LAB/home/warm-noisy/.bashrc" <<'C'
echo 'a banner of the start-up file'
echo 'a complaint of the start-up file' >&2
head -c 100000 /dev/zero | tr '\0' '=' >&2
sleep 0.4
cd /
C
}

programs_without_python() {
    mkdir -p "$LAB/bin"
    find /bin/ /usr/bin/ -maxdepth 1 ! -type d ! -name '*python*' ! -name '*pypy*' -exec ln -sft "$LAB/bin" {} +
}

# -- hosts --------------------------------------------------------------------------------------------------------------

start() {
    need
    mkdir -p "$LAB/hosts" "$LAB/hosts.d" /run/sshd
    chmod 755 "$LAB"
    ssh-keygen -q -t ed25519 -N '' -C warmshell-lab -f "$LAB/key" <<<y >/dev/null
    ssh-keygen -q -t ed25519 -N "a passphrase" -C warmshell-lab -f "$LAB/locked-key" <<<y >/dev/null
    ssh-keygen -q -t ed25519 -N '' -C stranger -f "$LAB/strange-key" <<<y >/dev/null
    cat "$LAB/key.pub" "$LAB/locked-key.pub" >"$LAB/authorized_keys"
    chmod 644 "$LAB/authorized_keys"
    : >"$LAB/known_hosts"
    accounts
    programs_without_python
    cat >"$LAB/config" <<C
Include $LAB/hosts.d/*
Host *
  User root
  IdentityFile $LAB/key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile $LAB/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  # The quickest, as tests log in very often.
  KexAlgorithms curve25519-sha256
C
    host hostA
    host hostB
    sed 's/^Host hostB$/Host hostB-via-A/; $a\  ProxyJump hostA' "$LAB/hosts.d/hostB" >"$LAB/hosts.d/hostB-via-A"
}

# NETNS names a network namespace to run it in, FILES the most descriptors that a process there may have; with FULL_TMP
# its /tmp has no space left.
host() { # NAME [OPTION…]
    local name=$1 home=$LAB/hosts/$1 port
    shift
    port=$((FIRST_PORT + $(find "$LAB/hosts" -mindepth 1 -maxdepth 1 | wc -l)))
    mkdir "$home"
    ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$home/host_key"
    {
        printf '%s\n' "$@" # of repeated options sshd takes the first
        server_config "$home" "$port" "$name"
    } >"$home/sshd_config"
    printf 'Host %s\n  HostName %s\n  Port %s\n' "$name" "$ADDRESS" "$port" >"$LAB/hosts.d/$name"
    echo "[$ADDRESS]:$port $(cut -d' ' -f1,2 "$home/host_key.pub")" >>"$LAB/known_hosts"
    launch "$home"
}

server_config() { # HOME PORT NAME
    cat <<C
Port $2
ListenAddress $ADDRESS
HostKey $1/host_key
PidFile $1/pid
AuthorizedKeysFile $LAB/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxSessions ${MAXSESSIONS:-10}
Subsystem sftp internal-sftp
MaxStartups ${MAXSTARTUPS:-10:30:100}
SetEnv SSHLAB_HOST=$3 LANG=${LANG:-C} LC_ALL=${LC_ALL:-${LANG:-C}}
AllowTcpForwarding yes
Match User warm-quiet
  SetEnv PATH=$LAB/bin SSHLAB_HOST=$3
Match User warm-password
  PubkeyAuthentication no
  PasswordAuthentication yes
C
}

launch() { # HOME
    local home=$1 enter=()
    [ -z "${NETNS:-}" ] || enter=(ip netns exec "$NETNS")
    # Not a child of whoever started this, and with none of its descriptors.
    FILES=${FILES:-} FULL_TMP=${FULL_TMP:-} setsid --fork "${enter[@]}" unshare --mount --propagation private sh -c '
        for name in passwd shadow group; do mount --bind "$1/etc/$name" "/etc/$name" || exit; done
        if [ -n "$FULL_TMP" ]; then
            mount --bind "$1" /mnt && mount -t tmpfs -o size=64k,mode=1777 tmpfs /tmp && mkdir -p "$1" &&
                mount --bind /mnt "$1" && umount /mnt || exit
            head -c 1000000 /dev/zero >/tmp/full
        fi 2>/dev/null
        [ -z "$FILES" ] || ulimit -n "$FILES" || exit
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$3" -D -f "$2/sshd_config" -E "$2/log"
    ' sh "$LAB" "$home" "$SSHD" </dev/null >"$home/said" 2>&1
    for _ in $(seq 400); do
        [ ! -s "$home/pid" ] || return 0
        sleep 0.025
    done
    echo "ssh.sh: $home did not start: $(cat "$home/said" "$home/log")" >&2
    exit 1
}

smoke() {
    for name in $(cd "$LAB/hosts.d" && echo *); do
        echo "$name: $(ssh -F "$LAB/config" -o BatchMode=yes "$name" 'echo "ok, $SSHLAB_HOST"')"
    done
    for name in $(sed -n 's/^\(warm-[a-oq-z][a-z]*\):.*/\1/p' "$LAB/etc/passwd"); do
        echo "$name: $(ssh -F "$LAB/config" -o BatchMode=yes -l "$name" hostA id -un 2>/dev/null | tail -n 1)"
    done
}

# Every process whose environment says that a session of this address began it, wherever it hid; then the servers.
stop() {
    for pid in $(sessions); do kill -9 "$pid" 2>/dev/null || true; done
    for file in "$LAB"/hosts/*/pid; do
        [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
    done
    rm -rf "$LAB"
}

sessions() {
    local file
    for file in $(grep -lszE "^SSH_CONNECTION=[^ ]+ [0-9]+ ${ADDRESS//./\\.} [0-9]+$" /proc/[0-9]*/environ); do
        file=${file#/proc/}
        echo "${file%/environ}"
    done
}

"$@"
