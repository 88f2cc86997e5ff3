#!/bin/bash
# A host of the lab behind a slow link: an sshd in a network namespace, joined to this one by a TUN pair that delays
# every packet (delaylink.py; not every kernel has netem).
#
#     delay.sh start [ONE_WAY_MS]   hostFar; 10 ms each way unless said otherwise (after ssh.sh start, same SSHLAB)
#     delay.sh cut | mend           lose every packet from now on | carry them again
#     delay.sh smoke                the time that ten commands take
#     delay.sh stop                 before ssh.sh stop
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAB=${SSHLAB:-${TMPDIR:-/tmp}/warmshell-sshlab}
SUFFIX=${DELAY_SUFFIX:-0}               # tells apart several links at once: a number from 0 to 16383
NEAR=198.$((18 + SUFFIX / 16384 % 2)).$((SUFFIX / 64 % 256)).$((SUFFIX % 64 * 4 + 1)) # of the range for benchmarks
FAR=${NEAR%.*}.$((${NEAR##*.} + 1))
SPACE=warmfar$SUFFIX DEVICE=warm$SUFFIX HOME_OF_LINK=$LAB/link

need() {
    for program in ip python3; do
        command -v "$program" >/dev/null || { echo "delay.sh: there is no $program" >&2; exit 3; }
    done
    [ -c /dev/net/tun ] || { echo "delay.sh: there is no /dev/net/tun" >&2; exit 3; }
    ip netns add "$SPACE" 2>/dev/null || { echo "delay.sh: no network namespace can be made here" >&2; exit 3; }
}

start() {
    need
    ip -n "$SPACE" link set lo up
    mkdir -p "$HOME_OF_LINK"
    env -i PATH="$PATH" setsid --fork python3 "$here/delaylink.py" --pid-file "$HOME_OF_LINK/pid" --device "$DEVICE" \
        --ms "${1:-10}" . "$NEAR/30" "$SPACE" "$FAR/30" </dev/null >"$HOME_OF_LINK/said" 2>&1
    for _ in $(seq 400); do
        [ ! -s "$HOME_OF_LINK/pid" ] || break
        sleep 0.025
    done
    [ -s "$HOME_OF_LINK/pid" ] || { echo "delay.sh: no link: $(cat "$HOME_OF_LINK/said")" >&2; exit 3; }
    NETNS=$SPACE SSHLAB=$LAB SSHLAB_ADDRESS=$FAR "$here/ssh.sh" host hostFar
}

cut() { kill -USR1 "$(cat "$HOME_OF_LINK/pid")"; }
mend() { kill -USR2 "$(cat "$HOME_OF_LINK/pid")"; }

smoke() {
    local ssh=(ssh -F "$LAB/config" -l warm-dash -o BatchMode=yes -o ConnectTimeout=5 -o "ControlPath=$LAB/m")
    "${ssh[@]}" -M -N -f hostFar
    time for _ in $(seq 10); do "${ssh[@]}" hostFar true; done
    "${ssh[@]}" -O exit hostFar
}

stop() {
    for file in "$LAB/hosts/hostFar/pid" "$HOME_OF_LINK/pid"; do
        [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
    done
    for pid in $(ip netns pids "$SPACE" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
    ip netns del "$SPACE" 2>/dev/null || true
    rm -rf "$HOME_OF_LINK" "$LAB/hosts/hostFar" "$LAB/hosts.d/hostFar"
}

"$@"
