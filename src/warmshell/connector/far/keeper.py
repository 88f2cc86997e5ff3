"""What looks after a host that has no Python: a shell beside the others, which ends what they left.

It tells of the place where it runs, ends what carries a tag when it is asked to, and everything that this client has
started once its own standard input ends, whatever became of the client. It waits in a ``read``, which costs nothing.
A second shell beside it does the same when nothing was heard of the client for a while: a link may be dead without
anybody being told.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from warmshell.connector.far.framing import spoken
from warmshell.errors import ConnectError, WarmshellError
from warmshell.protocol.quoting import quote
from warmshell.shell.session import LEASE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from warmshell.process import Process

_ANSWER_SECONDS = 20.0
_CLOSE_SECONDS = 8.0
_LOST = "the connection to the host is lost"

# Processes that carry a tag, the members of a session, those that were found before, and all that descend from them.
# Without a single quote: the whole is one quoted word.
# Environments are cut by NUL bytes, behind the first of which busybox's grep looks with "-z" only.
_SCRIPT = r"""
_warm_z=
! printf "a\\0b" | grep -qsz "^b" 2>/dev/null || _warm_z=z
_warm_look() {
    if test -r /proc/self/stat; then
        { grep "-ls${_warm_z}F" -e "WARMSHELL_COMMAND=$1" /proc/[0-9]*/environ | sed "s/[^0-9]//g;s/^/T /"
          cat /proc/[0-9]*/stat 2>/dev/null | sed "s/^\([0-9]*\) (.*) /S \1 - /"; }
    else
        ps -A -o pid= -o ppid= -o pgid= -o stat= | awk "{print \"S\", \$1, \"-\", \$4, \$2, \$3, \$3}"
    fi
}
_warm_find() {
    _warm_look "$1" | awk -v session="$2" -v known=" $3 " "
        \$1 == \"T\" { in_it[\$2] = 1 }
        \$1 == \"S\" { up[\$2] = \$5; state[\$2] = \$4; born[\$2] = \$2 \".\" (\$23 == \"\" ? 0 : \$23)
                     if (session != 0 && \$7 == session) in_it[\$2] = 1 }
        END {
            for (p in up) if (index(known, \" \" born[p] \" \")) in_it[p] = 1
            for (more = 1; more;) {
                more = 0
                for (p in up) if (!(p in in_it) && (up[p] in in_it)) { in_it[p] = 1; more = 1 }
            }
            for (p in in_it) if ((p in up) && state[p] !~ /^[ZX]/) printf \"%s \", born[p]
        }"
}
_warm_send() {
    _warm_signal=$1; shift
    for p; do kill "-$_warm_signal" "${p%%.*}" 2>/dev/null; done
}
_warm_end() {
    all= n=$3 hard=40
    while f=$(_warm_find "$1" "$2" "$all"); test -n "$f"; do
        test -z "$4" || _warm_send KILL $(_warm_hush "$1") # before each signal: a shell may just have begun with one
        if test "$n" -gt 0; then
            new=
            for p in $f; do case " $all " in *" $p "*) ;; *) new="$new $p" ;; esac; done
            _warm_send TERM $new; _warm_send CONT $new
        elif test "$hard" -gt 0; then _warm_send KILL $f; hard=$((hard - 1))
        else return 1; fi
        all="$all $f" n=$((n - 1))
        sleep 0.1 2>/dev/null || { sleep 1; n=$((n - 9)); }
    done
}
_warm_end_all() {
    for pause in 1 2 0; do # what had just read its line carries no tag before the second look
        _warm_end "$_warm_all" 0 5 hush; sleep $pause
    done
}
_warm_lives() { # the number alone may be that of another by now
    case $(cat "/proc/$$/cmdline" || ps -o args= -p $$) in *warmshell-channel*) ;; *) return 1 ;; esac
}
_warm_watch() {
    n=0
    trap "n=0" USR1
    trap "kill \"\$s\"; exit" TERM
    while test "$n" -lt 3 && _warm_lives; do
        n=$((n + 1))
        sleep "$_warm_pause" & s=$!
        while kill -0 "$s"; do wait "$s"; done
    done
    trap : TERM
    _warm_end_all
    _warm_lives && kill -KILL $$
}
_warm_hush() { # those who would report what is ended now as an end of its own: readers, and the shells of lanes
    { _warm_look "$1"
      grep -lsF -e warmshell-channel /proc/[0-9]*/cmdline | sed "s/[^0-9]//g;s/^/R /"
      grep -lsE -e "WARMSHELL_COMMAND=$1m[0-9]+[.]0" /proc/[0-9]*/environ | sed "s/[^0-9]//g;s/^/M /"; } | awk "
        \$1 == \"T\" { in_it[\$2] = 1 }
        \$1 == \"R\" { reader[\$2] = 1 }
        \$1 == \"M\" { lane[\$2] = 1 }
        \$1 == \"S\" { up[\$2] = \$5; session[\$2] = \$7 }
        END {
            for (p in in_it) if (((l = session[p]) in reader) && !(l in in_it)) {
                print l
                if ((p in lane) && up[p] == l) print p
            }
        }"
}
trap : HUP INT QUIT TERM PIPE
test -z "$_warm_base" || cd -P -- "$_warm_base" 2>/dev/null || { echo "warmshell-facts 0 0 sh "; exit; }
_warm_exe=$(readlink "/proc/$$/exe" 2>/dev/null)
case $_warm_exe in ""|*" "*) _warm_exe=sh ;; esac
_warm_most=$(getconf ARG_MAX 2>/dev/null) || { # where that is missing: a quarter of the stack, 6 MiB at most
    _warm_most=131072 stack=$(ulimit -s 2>/dev/null)
    test ! -r /proc/self/stat || case $stack in
    unlimited) _warm_most=6291456 ;;
    ""|*[!0-9]*) ;;
    *) test "$stack" -le 512 || _warm_most=$((stack < 24576 ? stack * 256 : 6291456)) ;;
    esac
}
echo "warmshell-facts $_warm_most $(env | wc -c) $_warm_exe $(pwd -P)"
_warm_watch </dev/null >/dev/null 2>&1 &
watch=$!
while IFS=" " read -r id tag session tenths; do
    case $id in
    beat) kill -USR1 "$watch" 2>/dev/null; echo beat; continue ;;
    quit) kill "$watch"; _warm_end "$_warm_all" 0 5; kill "$watch"; exit ;; # as one just before a wait may be missed
    esac 2>/dev/null
    { _warm_end "$tag" "$session" "$tenths"; echo "$id $?"; } </dev/null 2>/dev/null &
done
{ kill "$watch"; _warm_end_all; } >/dev/null 2>&1
"""


def keeper_line(token: str, base: bytes = b"", lease: float = LEASE) -> bytes:
    """The line that makes a reader the keeper of everything whose tag begins with the token.

    Args:
        token: letters and digits.
        base: the directory in which to start; that of a login by default.
        lease: seconds after which a silent client may be taken for dead; after half as many more it is.
    """
    assert "'" not in _SCRIPT  # noqa: S101 - see above
    base = base if not base or base.startswith(b"/") else b"./" + base
    return spoken(
        b"_warm_all=%s;_warm_base=%s;_warm_pause=%d;eval %s"
        % (quote(token.encode() + b"."), quote(base), max(1, round(lease / 2)), quote(_SCRIPT.encode()))
    )


class Keeper:
    """The client's end.

    Args:
        process: the far shell, which has been given :func:`keeper_line`.
        location: the name of the location, for errors.
        on_silent: called when nothing is heard of it any more.
        lease: seconds of silence after which it is taken for dead.

    Attributes:
        cwd: where processes start at the far end.
        sh: the program that ``sh`` leads to there.
        room: bytes that words and added variables may take there.
        lost: why it is gone, or ``None``.
    """

    def __init__(
        self, process: Process, location: str, on_silent: Callable[[], Awaitable[None]], lease: float = LEASE
    ) -> None:
        self._process = process
        self._on_silent = on_silent
        self._lease = lease
        self._heard = 0.0
        self._beating: asyncio.Task[None] | None = None
        self._location = location
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._asked = 0
        self._held = b""
        self._turn = asyncio.Lock()
        self._stop: Callable[[], None] | None = None
        self.cwd = b"/"
        self.sh = "sh"
        self.room = 128 * 1024
        self.lost: str | None = None

    async def start(self) -> None:
        """Wait until it tells of its place.

        Raises:
            ConnectError: it does not.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                facts = await self._facts()
        except TimeoutError:
            raise ConnectError("the host's shell does not answer", location=self._location) from None
        most, taken, shell, self.cwd = facts.split(b" ", 3)
        self.sh = shell.decode("utf-8", "surrogateescape")
        if not self.cwd:
            raise ConnectError("the directory cannot be entered", location=self._location, hint="correct cwd=")
        if most.isdigit() and taken.isdigit():
            self.room = max(4096, int(most) - 2 * int(taken) - 4096)
        self._stop = self._process.stdout.subscribe(self._on_data, self._on_end)
        self._beating = asyncio.ensure_future(self._beat())

    async def _beat(self) -> None:
        """Let the far end know that this client lives, and notice when the far end does not."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        while self.lost is None:
            await asyncio.sleep(self._lease / 4)
            with contextlib.suppress(OSError, WarmshellError, TimeoutError):
                async with asyncio.timeout(self._lease / 4):  # a dead link may take nothing more
                    await self._say(b"beat\n")
            if self.lost is None and loop.time() - self._heard > self._lease:
                self._lose("the host has been silent for too long")
                await self._on_silent()

    async def _facts(self) -> bytes:
        seen = b""
        while data := await self._process.stdout.receive():
            seen += data
            at = seen.find(b"warmshell-facts ")
            end = seen.find(b"\n", at)
            if at >= 0 and end >= 0:
                return seen[at + len(b"warmshell-facts ") : end]
        raise ConnectError("the host's shell ended as it started", location=self._location)

    async def end(self, tag: str, session: int, grace: float) -> None:
        """End what carries a tag, a session, and all that descends from them: TERM, grace, KILL.

        Raises:
            ConnectError: the connection is lost; what it had started is ended by itself.
        """
        if self.lost is not None:
            raise ConnectError(self.lost, location=self._location)
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        request = b"%d %s. %d %d\n" % (number, tag.encode(), session, round(grace * 10))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS + grace):
                await self._say(request)
                await answer
        except (BrokenPipeError, TimeoutError):
            raise ConnectError(_LOST, location=self._location) from None
        finally:
            del self._answers[number]

    async def _say(self, line: bytes) -> None:
        """Hand over a line as a whole; a stream that takes nothing at once does with waiting."""
        async with self._turn:
            sent = self._process.stdin.send_some(line)
            if sent < len(line):
                await self._process.stdin.send(line[sent:])

    def _on_data(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            number = line.partition(b" ")[0]
            answer = self._answers.get(int(number)) if number.isdigit() else None
            if answer is not None and not answer.done():
                answer.set_result(None)

    def _on_end(self) -> None:
        self._lose(_LOST)

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectError(self.lost, location=self._location))

    async def aclose(self) -> None:
        """Have it end everything, and go."""
        if self._stop is not None:
            self._stop()
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        with contextlib.suppress(WarmshellError, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._say(b"quit\n")
                await self._process.stdin.aclose()
                await self._process.wait()
        await self._process.aclose()
