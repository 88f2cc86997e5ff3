"""The sh text that copies run at their ends; words are its arguments, so that no name is ever read as text.

Everything is plain POSIX sh: a location needs no more than ``sh``, ``tar``, ``mv`` and ``rm``.
"""

from __future__ import annotations

from typing import Final

_LOOK = r"""
CDPATH=
see() {
    if test -h "$1"; then k=l; elif test -d "$1"; then k=d; elif test -f "$1"; then k=f; elif test -e "$1"; then k=o
    else k=-; fi
    if test -d "$1"; then t=d; elif test -f "$1"; then t=f; elif test -e "$1"; then t=o; else t=-; fi
    r=x
    case $k$t in lf | lo) r=$(readlink -f -- "$1" && echo x) || r=x; r=${r%
x};; esac
    printf '%s\0' "$k$t" "${r%x}"
}
for p; do see "$p"; done
"""

_PROBE = r"""
t=- z=- m='mv -f' c=- u=$(id -u)
v=$(tar --version 2>&1)
case $? in 127) ;; *) case $v in
    *GNU*) t=gnu;; *bsdtar*) t=bsd;; *[Bb]usy[Bb]ox*) t=busybox;; *) t=other;; esac;; esac
test "$t" != - || ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || t=python
command -v zstd >/dev/null 2>&1 && z=zstd
v=$(mv --help 2>&1); case $v in *-*T*) m='mv -fT';; esac
v=$(cp --version 2>&1); case $v in *GNU*) c=gnu;; esac
echo "$t $z $c $u $m"
"""

# What tells whether the files of two locations are the same ones. Where anything of it is missing, it is not certain.
_WORLD = r"""
CDPATH=
boot=$(cat /proc/sys/kernel/random/boot_id) && space=$(readlink /proc/self/ns/user) &&
    user="$(id -u) $(id -g)" && groups=$(id -G) || exit
rights=
while read -r key value; do test "$key" != CapEff: || rights=$value; done </proc/self/status
printf '%s\0' "$boot" "$space" "$user" "$groups" "$rights"
cat /proc/self/mountinfo
printf '\0'
for d; do
    r=$(cd -- "$d" 2>/dev/null && pwd -P && echo x) || r=x
    n=$(cd -- "$d" 2>/dev/null && stat -c %d:%i . 2>/dev/null) || n=
    r=${r%
x}
    printf '%s\0' "${r%x}" "$n"
done
"""

# Where what arrives is put together. Whatever ends this script, nothing stays behind but what has its name already.
_STAGE = r"""
umask 077; CDPATH=
cd -- "$1" 2>/dev/null || { echo "there is no directory $1" >&2; exit 72; }
s=./$2; shift 2
mkdir -m 700 -- "$s" || exit 73
undo() {
    for p in "$s"/.warm-*.in; do # whoever waits to write into it waits no more, and nobody begins to
        test ! -p "$p" || { mv -f "$p" "$s/gone" && : <>"$s/gone"; }
    done
    rm -rf -- "$s" 2>/dev/null || { chmod -R u+rwX -- "$s"; rm -rf -- "$s"; }
}
trap 'trap "" HUP INT TERM PIPE; undo' EXIT
trap 'exit 143' HUP INT TERM PIPE
fail() { echo "$1" >&2; exit 74; }
is_dir() { test -d "$1" && ! test -h "$1"; }
is_there() { test -e "$1" || test -h "$1"; }
"""

# A directory can only be moved by who may write to it, as its ".." changes; its mode comes back at once.
_PUBLISH = r"""
move() {
    if is_dir "$1" && ! test -w "$1"; then
        p=$(stat -c %a -- "$1" 2>/dev/null || stat -f %Lp "$1") && chmod u+w -- "$1" || exit 74
        @MOVE@ -- "$1" "$2" || { chmod "$p" -- "$1"; exit 74; }
        chmod "$p" -- "$2"
    else
        @MOVE@ -- "$1" "$2" || exit 74
    fi
}
each() {
    for e in "$2"/* "$2"/.[!.]* "$2"/..?*; do
        is_there "$e" || continue
        t=$3/${e##*/}
        "$1" "$e" "$t"
    done
}
clash() {
    if is_dir "$1"; then
        if is_dir "$2"; then (each clash "$1" "$2") || exit 74
        elif is_there "$2"; then fail "a directory cannot replace what is no directory: $2"; fi
    elif is_dir "$2"; then fail "what is no directory cannot replace a directory: $2"; fi
}
merge() (
    from=$1 d=$2 n=0
    set --
    for e in "$from"/* "$from"/.[!.]* "$from"/..?*; do
        is_there "$e" || continue
        if is_dir "$e"; then
            t=$d/${e##*/}
            if is_dir "$t"; then merge "$e" "$t" || exit 74; else move "$e" "$t"; fi
        else
            set -- "$@" "$e"; n=$((n + 1))
            test $n -lt 200 || { mv -f -- "$@" "$d/" || exit 74; set --; n=0; }
        fi
    done
    test $n = 0 || mv -f -- "$@" "$d/" || exit 74
)
publish() {
    case $3 in
    merge)
        is_dir "$2/." || fail "it is no directory any more: $2"
        clash "$1" "$2/." && merge "$1" "$2" || exit 74;;
    new)
        ! is_there "$2" || fail "it has been made meanwhile: $2"
        move "$1" "$2";;
    *)
        ! is_dir "$2" || fail "what is no directory cannot replace a directory: $2"
        move "$1" "$2";;
    esac
}
while test $# -gt 2; do
    publish "$s${1:+/$1}" "./$2" "$3"; shift 3
done
"""

_RECEIVE = r"""
m=$1; shift
@EXTRACT@ || {
    df -kP "$s" 2>/dev/null | awk 'NR == 2 && $4 < 16 { print "No space left on the device" }' >&2
    exit 74
}
test -f "$s/$m" || exit 75
rm -f -- "$s/$m"
"""

_FROM = r"""
CDPATH=
from=$(cd -- "$1" 2>/dev/null && pwd -P && echo x) || { echo "there is no directory $1" >&2; exit 72; }
from=${from%
x}
shift
"""

_LOCALLY = r"""
how=$1; shift
here=$(pwd -P && echo x); here=${here%
x}
a=${from%/}${1:+/$1} b=$here
test "$2" = . || b=${here%/}/$2
case ${b%/}/ in "${a%/}"/*)
    test "$b" != "$a" || fail 'source and destination are the same file'
    test "$how" = link || fail 'a directory cannot be copied into itself';; esac
case $how in
link) ln -s -- "$a" "$s/$1";;
*) (cd -- "$from" && @COPY@) ;;
esac || exit 74
"""

_SEND = r"""
CDPATH=
cd -- "$1" 2>/dev/null || { echo "there is no directory $1" >&2; exit 72; }
shift
"""

_REMOVE = r"""
CDPATH=
cd -- "$1" 2>/dev/null || exit 0
for p in "./$2"/.warm-*.in; do test ! -p "$p" || { mv -f "$p" "./$2/gone" && : <>"./$2/gone"; }; done
rm -rf -- "./$2" 2>/dev/null || { chmod -R u+rwX -- "./$2"; rm -rf -- "./$2"; }
"""

# The status of what writes into a pipe is lost in sh; so it is said on another descriptor.
_PIPED = r"""
exec 3>&1
r=$({ { @FIRST@; echo $? >&4; } | { @SECOND@ >&3; echo $? >&4; }; } 4>&1)
set -- $r
test "$1$2" = 00 || exit 74
"""

_TOTAL = r"""
CDPATH=
cd -- "$1" && shift || exit
{ find @FOLLOW@ "$@" ! -type d -printf '%s %y\n' || { find @FOLLOW@ "$@" ! -type d -exec printf '0 -\n' \;
    echo "$(du -sk@FOLLOW@ -- "$@" | awk '{s+=$1} END {printf "%.0f", s * 1024}') f"; }; } 2>/dev/null |
    awk '{ if ($2 != "l") s += $1; n++ } END { printf "%.0f %d\n", s, n }'
"""

_SEND_FILE = r"""
CDPATH=
cd -- "$1" && exec tail -c "+$2" -- "$3"
"""

_RECEIVE_FILE = r"""
umask 077; CDPATH=
cd -- "$1" && exec cat >>"./$2"
"""

# With which program does not matter, as long as both ends have the same one.
_DIGEST = r"""
if command -v sha256sum >/dev/null; then d=sha256sum
elif command -v shasum >/dev/null; then d='shasum -a 256'
else d=cksum; fi
echo "${d%% *} $(head -c "$2" "$1" | $d)"
"""

SEND_FILE: Final = _SEND_FILE
"""Send a file from a byte on; words: the directory, the number of the byte, the name."""

RECEIVE_FILE: Final = _RECEIVE_FILE
"""Append standard input to a file; words: its directory, its name."""

DIGEST: Final = _DIGEST
"""A checksum of the beginning of a file; words: its path, how many bytes."""

# What extracts reads a pipe with a name, into which the source's own ssh writes; that all of it came is said here.
_AWAIT = r"""(
    p=$s/$m.in d=$(pwd -P && echo x)
    mkfifo -m 600 "$p" && printf '%s/%s\0' "${d%
x}" "$p" && { @EXTRACT@; } <"$p" && rm -f "$p" &&
    IFS= read -r all && test "$all" = whole && : >"$s/$m"
)"""

LOOK: Final = _LOOK
"""What stands at each of the paths: two letters (itself, what it leads to) and where it leads, ended by NULs."""

PROBE: Final = _PROBE
"""What a location offers to copies, in one line."""

WORLD: Final = _WORLD
"""Who acts on which kernel with which mounts; then for each directory its path without links and its numbers."""

REMOVE: Final = _REMOVE
"""Take away a directory in which something was put together; words: where, its name."""


def total(*, dereference: bool) -> str:
    """The script that says how many bytes and files there are; words: the directory, then names in it."""
    return _TOTAL.replace("du -sk@FOLLOW@", "du -skL" if dereference else "du -sk").replace(
        "@FOLLOW@", "-L" if dereference else ""
    )


def send(tar: str, packer: str | None) -> str:
    """The script that writes an archive; words: the directory, then names in it.

    Args:
        tar: the words that write one of ``"$@"`` to standard output.
        packer: the words that this goes through, or ``None``.
    """
    return _SEND + (f"exec {tar}\n" if packer is None else piped(tar, packer))


def receive(extract: str, move: str) -> str:
    """The script that puts together what an archive holds, and gives it its names if all of it came.

    Words: the directory of the plan, the name of the one to put it together in, the name of the member that says that
    all came; then for each step the source's name, that of the target, and the action.

    Args:
        extract: the words that extract standard input into ``"$s"``.
        move: the words that rename.
    """
    return _STAGE + _RECEIVE.replace("@EXTRACT@", extract) + _PUBLISH.replace("@MOVE@", move)


def awaited(extract: str) -> str:
    """What extracts, in :func:`receive`, what another location sends by itself.

    It prints the name of the pipe that it reads and a NUL; then it waits for the line ``whole``.

    Args:
        extract: the words that extract standard input into ``"$s"``.
    """
    return _AWAIT.replace("@EXTRACT@", extract)


def send_directly(tar: str, ssh: str) -> str:
    """The script that sends an archive to another location; words: the directory, the line, then names.

    Args:
        tar: the words that write one of ``"$@"`` to standard output.
        ssh: the words that run a line of sh text at the other location.
    """
    return _SEND + "to=$1; shift\n" + piped(tar, f'{ssh} "$to"')


def locally(copy: str, move: str) -> str:
    """The script that copies or links within a location.

    Words: the source's directory, that of the plan, the name of the one to put it together in, ``copy`` or ``link``;
    then the step.

    Args:
        copy: the words that copy ``"./$1"`` into ``"$here/$s"``.
        move: the words that rename.
    """
    return _FROM + _STAGE + _LOCALLY.replace("@COPY@", copy) + _PUBLISH.replace("@MOVE@", move)


def piped(first: str, second: str) -> str:
    """Text that fails if either end of a pipe does."""
    return _PIPED.replace("@FIRST@", first).replace("@SECOND@", second)


def grouped(text: str) -> str:
    """The text in a fork of its own, as one command."""
    return f"({text})"
