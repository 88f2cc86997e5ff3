"""Texts for ``sh`` that do what a file operation asks, with the tools that every system has.

Names are quoted words and nothing else: ``p`` is the path and ``t`` the target, both assigned once at the top, and
used within double quotes only. A relative name begins with ``./``, so that none looks like an option. A script that
knows the system's number for what is wrong exits with 64 more than it; otherwise its tools' own words tell.
"""

from __future__ import annotations

import errno

from warmshell.fileops.answers import BASE, FORMAT
from warmshell.protocol.quoting import quote

_TOP = b"LC_ALL=C;export LC_ALL;"
_BLOCK = 65536


def named(name: bytes) -> bytes:
    """The name as a word that no tool takes for an option."""
    return quote(name if name.startswith(b"/") else b"./" + name)


def script(text: bytes, path: bytes, target: bytes | None = None) -> bytes:
    """The text with the names that it is about."""
    second = b"" if target is None else b"t=" + named(target) + b";"
    return _TOP + b"p=" + named(path) + b";" + second + text


def fail(number: int) -> bytes:
    """Leave with this number of the system's."""
    return b"exit %d" % (BASE + number)


# stat tells whether it is missing, or in a directory that may not be searched.
_MISSING = b'{ [ -e "$p" ]||[ -L "$p" ]||stat -c x "$p" >/dev/null||exit 1;}'
_NO_DIRECTORY = b'if [ -d "$p" ];then ' + fail(errno.EISDIR) + b";fi;"
_NO_DIRECTORY_ITSELF = b'if [ -d "$p" ]&&! [ -L "$p" ];then ' + fail(errno.EISDIR) + b";fi;"
_REGULAR = _NO_DIRECTORY + b'if [ -e "$p" ]&&! [ -f "$p" ];then ' + fail(errno.EINVAL) + b";fi;"
# dash calls it "nonexistent" that the directory is none: stat has the last word.
_WHY = b'{ stat -c x "${p%/*}/." >/dev/null;exit 1;};'
_WRITABLE = b'{ command : >>"$p";}||' + _WHY
_READABLE = b'{ : <"$p";}||exit 1;'


def masked(mode: int, default: int) -> bytes:
    """Have new files made with these permissions, less the umask."""
    return b"" if mode == default else b"umask $(printf %%o $(($(umask)|%d)));" % (~mode & 0o777)


STAT = b'exec stat -L -c "' + FORMAT + b'" "$p"'
LSTAT = b'exec stat -c "' + FORMAT + b'" "$p"'

# Mostly the name is there, or is not; stat tells when a directory may not be searched.
EXISTS = b'[ -e "$p" ]||exec stat -L -c x "$p" >/dev/null'
LEXISTS = b'[ -e "$p" ]||[ -L "$p" ]||exec stat -c x "$p" >/dev/null'
EXECUTABLE = b'[ -x "$p" ]'

LIST = (
    b'cd "$p" 2>/dev/null||{ stat -L -c x "$p/." >/dev/null;exit 1;};'
    b'exec find . ! -name . -prune -exec sh -c \'printf "%s\\0" "$@";printf "\\0";'
    b'stat -c "' + FORMAT + b' %n" "$@" 2>/dev/null;printf "\\0"\' sh {} +'
)

# For each directory: what each name is, and the name; then an empty one. Only those of $n, if that is set.
_KIND = (
    b'k(){ if [ -L "$1" ];then if [ -d "$1" ];then k=D;elif [ -e "$1" ];then k=l;else k=x;fi;'
    b'elif [ -d "$1" ];then k=d;elif [ -e "$1" ];then k=f;else return 0;fi;printf "%s\\0" "$k$1";};'
)
_WALK = (
    _KIND + b'l(){ (d=$1;shift;cd "$d" 2>/dev/null||exit;if [ $# -eq 0 ]&&[ -r . ];then set -- * .[!.]* ..?*;fi;'
    b'for f do k "$f";done);printf "\\0";};'
)


def walk(directories: list[tuple[bytes, list[bytes] | None]]) -> bytes:
    """List directories for a walk: each with the names that matter, or with all."""
    calls = [
        b"l %s%s;" % (named(path), b"".join(b" " + quote(name) for name in names or ()))
        for path, names in directories
    ]  # fmt: skip
    return _TOP + _WALK + b"".join(calls)


READLINK = b'if ! [ -L "$p" ];then ' + _MISSING + b";" + fail(errno.EINVAL) + b';fi;exec readlink -n "$p"'

# The part of the path that is there, without links; behind it what is not there, as it was.
REALPATH = (
    b'r=;n=0;while [ $n -lt 500 ];do n=$((n+1));if [ -d "$p" ]&&x=$(cd -P "$p" 2>/dev/null&&pwd -P&&echo .);then '
    b'x=${x%??};case $x in /)printf "%s" "/${r#/}";;*)printf "%s" "$x$r";;esac;exit 0;fi;'
    b"while :;do case $p in ?*/)p=${p%/};;*)break;;esac;done;"
    b'case $p in */*)h=${p%/*} b=${p##*/};;*)h=. b=$p;;esac;[ -n "$h" ]||h=/;'
    b'if [ -L "$p" ];then x=$(readlink -n "$p"&&echo .)||exit 1;x=${x%?};'
    b"case $x in /*)p=$x;;*)p=$h/$x;;esac;continue;fi;"
    b'case $b in .)p=$h;;..)case $h in */*)p=${h%/*};[ -n "$p" ]||p=/;;*)p=.;;esac;;*)r=/$b$r p=$h;;esac;done;'
) + fail(errno.ELOOP)

SPACE = _MISSING + b';exec df -Pk "$p"'


def read(offset: int, length: int | None) -> tuple[bytes, int]:
    """Read whole blocks around a range; and how many bytes come before it."""
    first, skipped = divmod(offset, _BLOCK)
    count = b"" if length is None else b" count=%d" % -(-(skipped + length) // _BLOCK)
    text = _NO_DIRECTORY + b'if [ -p "$p" ];then ' + fail(errno.ESPIPE) + b";fi;" + _READABLE
    return text + b'exec dd bs=%d skip=%d%s <"$p"' % (_BLOCK, first, count), skipped


def write(offset: int, *, create: bool, exclusive: bool, truncate: bool, mode: int) -> bytes:
    """Write standard input at an offset; ``dd`` begins at whole blocks only, so a few bytes may go before."""
    text = _NO_DIRECTORY + b'if [ -p "$p" ];then ' + fail(errno.ESPIPE) + b";fi;"
    text += masked(mode, 0o666) if create else _MISSING + b";"
    if exclusive:
        text += b'(set -C;: >"$p")||{ if [ -e "$p" ]||[ -L "$p" ];then ' + fail(errno.EEXIST) + b";fi;exit 1;};"
    text += _WRITABLE
    if truncate and offset == 0:
        return text + b'exec cat >|"$p"'
    if truncate:
        text += b': >|"$p";'
    before = -offset % _BLOCK
    if before:
        text += b'dd bs=1 count=%d seek=%d conv=notrunc of="$p"&&' % (before, offset)
    return text + b'dd bs=%d seek=%d conv=notrunc of="$p"' % (_BLOCK, (offset + before) // _BLOCK)


def store(token: str) -> bytes:
    """Write standard input beside the file, and give it its name; where a link leads, if it is one."""
    return _beside(b"cat", token)


def duplicate(token: str) -> bytes:
    """Copy a file in the same way."""
    return _REGULAR + _READABLE + b"s=$p p=$t;" + _beside(b'cat "$s"', token, b'm=$(stat -L -c %a "$s")||exit 1;')


def _beside(contents: bytes, token: str, mode: bytes = b"") -> bytes:
    """Write a file beside the one that is meant, and give it its name."""
    word = token.encode()
    return (
        _NO_DIRECTORY + b'if [ -e "$p" ]&&! [ -f "$p" ];then exec ' + contents
        + b' >"$p";fi;n=0;'
        b'while [ -L "$p" ];do n=$((n+1));if [ $n -gt 40 ];then ' + fail(errno.ELOOP) + b";fi;"
        b'x=$(readlink -n "$p"&&echo .)||exit 1;x=${x%?};case $x in /*)p=$x;;*)p=${p%/*}/$x;;esac;done;'
        b't=${p%/*}/.warm-' + word + b";trap 'rm -f \"$t\"' EXIT;trap 'exit 1' HUP INT TERM;"
        b'm=;if [ -f "$p" ];then m=$(stat -c %a "$p")||exit 1;fi;' + mode + b'if [ -n "$m" ];then umask 077;fi;'
        b'(set -C;: >"$t")||' + _WHY + contents + b' >|"$t"||exit 1;'
        b'if [ -n "$m" ];then chmod "$m" "$t"||exit 1;fi;mv -f "$t" "$p"'
    )  # fmt: skip


def truncate(size: int) -> bytes:
    """Make the file that long."""
    return _MISSING + b";" + _NO_DIRECTORY + b'exec dd bs=1 count=0 seek=%d of="$p" </dev/null' % size


SYNC = _MISSING + b';sync "$p" 2>/dev/null||sync'


def checksum(algorithm: str) -> bytes:
    """The digest, before a blank."""
    word = algorithm.encode()
    return (
        _REGULAR + _READABLE + b'if command -v %ssum >/dev/null 2>&1;then exec %ssum <"$p";fi;' % (word, word)
        + b'if command -v openssl >/dev/null 2>&1;then exec openssl dgst -r -%s <"$p";fi;' % word + fail(errno.ENOSYS)
    )  # fmt: skip


def mkdir(mode: int, *, above: bytes | None, exist_ok: bool) -> bytes:
    """Make a directory, and those above it."""
    made = b""
    if above:
        word = named(above)
        made = b"if [ -e %s ]&&! [ -d %s ];then " % (word, word) + fail(errno.ENOTDIR) + b";fi;mkdir -p %s&&" % word
    there = b'if [ -d "$p" ];then exit 0;fi;' if exist_ok else b""
    exists = b'if [ -e "$p" ]||[ -L "$p" ];then ' + fail(errno.EEXIST) + b";fi;"
    return there + exists + made + b"{ " + masked(mode, 0o777) + b'mkdir "$p"||{ s=$?;' + there + b"exit $s;};}"


def touch(mode: int, *, exist_ok: bool) -> bytes:
    """Make an empty file, or set the times of one that is there."""
    there = b'if [ -e "$p" ]||[ -L "$p" ];then ' + fail(errno.EEXIST) + b";fi;"
    return (b"" if exist_ok else there) + masked(mode, 0o666) + b'exec touch "$p"'


RMDIR = b'exec rmdir "$p"'


def rmtree(*, missing_ok: bool) -> bytes:
    """Remove a tree or a file."""
    return (b"" if missing_ok else _MISSING + b";") + b'exec rm -rf "$p"'


def remove(*, missing_ok: bool) -> bytes:
    """Remove a file or a link."""
    return _NO_DIRECTORY_ITSELF + (b"" if missing_ok else _MISSING + b";") + b'exec rm -f "$p"'


# mv moves into a directory, and into one that a link leads to; -T says not to, where mv knows it.
# Two names of one file stay as they are, as rename(2) has it.
RENAME = (
    _MISSING + b';case $p in "$t")exit 0;;esac;if [ "$p" -ef "$t" ]&&! [ -L "$p" ]&&! [ -L "$t" ];then exit 0;fi;'
    b'if [ -d "$t" ]&&! [ -L "$t" ];then if [ -d "$p" ]&&! [ -L "$p" ];then rmdir "$t"||exit 1;else '
    + fail(errno.EISDIR) + b';fi;elif [ -e "$t" ]&&[ -d "$p" ]&&! [ -L "$p" ];then ' + fail(errno.ENOTDIR) + b";fi;"
    b'if [ -L "$t" ]&&[ -d "$t" ];then mv -fT "$p" "$t" 2>/dev/null||{ rm -f "$t"&&mv -f "$p" "$t";};'
    b'else exec mv -f "$p" "$t";fi'
)  # fmt: skip

_FREE = b'if [ -e "$p" ]||[ -L "$p" ];then ' + fail(errno.EEXIST) + b";fi;"


def symlink(target: bytes) -> bytes:
    """A link that leads to the target, whatever that is."""
    return _FREE + b'exec ln -s -- %s "$p"' % quote(target)


LINK = _FREE + b'exec ln "$t" "$p"'


def chmod(mode: int) -> bytes:
    """Set permissions; five digits clear what GNU chmod would keep of a directory."""
    return b'exec chmod %05o "$p"' % mode


def utime(atime_ns: int, mtime_ns: int, *, follow: bool) -> bytes:
    """Set times: with parts of seconds where touch knows them."""
    option = b"" if follow else b"h"
    lines = [_MISSING if not follow else b'{ [ -e "$p" ]||stat -L -c x "$p" >/dev/null||exit 1;}']
    for letter, moment in ((b"a", atime_ns), (b"m", mtime_ns)):
        exact, plain = _moment(moment)
        words = b"-c%s%s" % (letter, option)
        lines.append(b'{ touch %s -d %s "$p" 2>/dev/null||TZ=UTC0 touch %s -t %s "$p";}' % (words, exact, words, plain))
    return b"&&".join(lines)


def _moment(nanoseconds: int) -> tuple[bytes, bytes]:
    from datetime import UTC, datetime, timedelta

    seconds, part = divmod(nanoseconds, 10**9)
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    exact = when.strftime("%Y-%m-%dT%H:%M:%S") + f".{part:09d}Z"
    return exact.encode(), when.strftime("%Y%m%d%H%M.%S").encode()
