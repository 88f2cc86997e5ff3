"""What is written to a warm shell for one command, and the lines it reports with.

A request is one self-contained compound: a complete line (quoted newlines aside), so that a shell which got only part
of it has run nothing. What it reports, one line each::

    SEQ s       the command's redirections are open and it starts (asked for only where the driver must know)
    SEQ N       it ended with status N
    SEQ c N     the working directory could not be entered; nothing was run
    SEQ N x     it ended with status N, and the shell cannot return to its own directory: it must not be used again
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .dialect import Dialect, builtin_equals_program
from .quoting import is_name, quote, quote_all

TAG = b"WARMSHELL_COMMAND"
"""The variable in every command's environment by which its descendants are found, wherever they hid."""


class Body:
    """A command as shell text.

    Attributes:
        text: the text, a simple command or a compound that redirections can follow.
        prologue: statements that must come before it, in the shell itself.
        tagged: whether it may start processes, which must then carry the tag.
        outputs: how many of the two output streams it may write to: 2, 1 (standard output only) or 0.
        breaks_line: whether an error in it may make the shell go on with the next line of its input.
    """

    __slots__ = ("breaks_line", "outputs", "prologue", "tagged", "text")

    def __init__(
        self,
        text: bytes,
        prologue: bytes = b"",
        tagged: bool = True,
        outputs: int = 2,
        breaks_line: bool = False,
    ) -> None:
        self.breaks_line = breaks_line
        self.text = text
        self.prologue = prologue
        self.tagged = tagged
        self.outputs = outputs


def words_body(
    dialect: Dialect, words: Sequence[bytes], env: Mapping[bytes, bytes] | None = None, *, only: bool = False
) -> Body:
    """Words as a program (or the builtin that equals it), with variables that last for this command only.

    Args:
        dialect: the shell's.
        words: the program and its arguments.
        env: variables to add.
        only: whether there are to be no others: the shell was started without any, but has made some of its own.
    """
    if only:
        return Body(_alone(words, env or {}), _forget(dialect, words) + _LEFT)
    if env:
        names, odd = assignments(env)
        program = through_env(odd, words) if odd else dialect.program(words)
        return Body(names + program, _forget(dialect, words))
    if builtin_equals_program(words):
        return Body(dialect.builtin(words), tagged=False, outputs=1 if words[0] in _WRITERS else 0)
    return Body(dialect.program(words), _forget(dialect, words))


_MADE = (b"_", b"LOGNAME", b"OLDPWD", b"PATH", b"PWD", b"SHLVL")
_LEFT = b"unset PWD OLDPWD SHLVL;"
"""Takes away what a shell makes of its own, and hands on, when it starts or enters a directory."""


def _alone(words: Sequence[bytes], env: Mapping[bytes, bytes]) -> bytes:
    # PATH goes through env as well: the shell would look for env itself in an assigned one.
    names, odd = assignments({name: value for name, value in env.items() if name != b"PATH"})
    away = b"".join([b"-u %s " % name for name in _MADE if name not in env])
    if b"PATH" in env:
        odd += quote(b"PATH=" + env[b"PATH"]) + b" "
    return names + through_env(odd, words, away)


_WRITERS = (b"echo", b"pwd")  # of the builtins that equal programs; the others say nothing


def script_body(
    dialect: Dialect, script: bytes, env: Mapping[bytes, bytes] | None = None, *, only: bool = False
) -> Body:
    """A script evaluated in a fork, so that nothing it does can touch the shell; see :func:`words_body`."""
    prologue = dialect.forget + _LEFT if only else dialect.forget
    if not env:
        return Body(b"(eval " + quote(script) + b")", prologue)
    names, odd = assignments(env)
    if odd:  # only a program can hold such a name, so the script gets a shell of its own
        own = (*dialect.argv, b"-c", script)
        return Body(names + through_env(odd, own), prologue)
    return Body(b"(export " + names + b";eval " + quote(script) + b")", prologue)


_LINE_BREAKERS = ("bash", "posix")  # the latter may be bash by another name


def stateful_body(script: bytes, dialect: Dialect) -> Body:
    """A script evaluated in the shell itself, whose state it changes.

    ``command`` keeps a syntax error in the script from ending the shell (POSIX XCU 2.8.1, 2.14). mksh forgets behind it
    what ``set --`` has set, and ends all the same. An error in an array's index, or in the value of an integer, makes
    bash drop the whole line.
    """
    if dialect.name == "ash":
        # Behind its "command", a fork that fails would go on as a second shell. So the syntax is looked at first.
        look = b"(\\eval 'set -n\n'" + quote(script) + b") >/dev/null 2>&1"
        return Body(b"if %s;then \\eval %s;else (\\eval %s);fi" % (look, quote(script), quote(script)))
    start = b"\\eval " if dialect.name == "ksh" else b"\\command eval "
    return Body(start + quote(script), breaks_line=dialect.name in _LINE_BREAKERS)


def through_env(odd: bytes, words: Sequence[bytes], options: bytes = b"") -> bytes:
    """The program with variables that no shell can hold, as :func:`assignments` gives them."""
    odd = options + b"-- " + odd
    if b"=" in words[0]:  # env would take it for one more variable
        return b"env " + odd + b'sh -c \'exec "$0" "$@"\' ' + quote_all(words)
    return b"env " + odd + quote_all(words)


def _forget(dialect: Dialect, words: Sequence[bytes]) -> bytes:
    return b"" if b"/" in words[0] else dialect.forget


# Names that mean something to a shell when they are assigned, or that it refuses to have assigned: found by trying all
# that any of the known shells has.
_SPECIAL = re.compile(
    rb"(?:BASH\w*|ZSH\w*|KSH\w*|_|COLUMNS|DIRSTACK|EGID|EPOCH\w*|EUID|FUNCNAME|FUNCNEST|GID|GROUPS|HISTCMD|HISTSIZE|IFS"
    rb"|JOBMAX|KEYBOARD_HACK|LINENO|LINES|MAILCHECK|OPTIND|PGRP|PIPESTATUS|PPID|RANDOM|SAVEHIST|SECONDS|SHELLOPTS|SHLVL|SRANDOM|TMOUT"
    rb"|TRY_BLOCK_\w*|TTYIDLE|UID|USERNAME|USER_ID|signals|_warm_\w*)\Z"
)
_LOCALE = re.compile(rb"(?:LC_\w+|LANG)\Z")
_LOCALES = (b"C", b"C.UTF-8", b"POSIX")  # of any other, bash may say that it is not installed


def assignments(env: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """Assignments for the shell, and words for ``env`` for the names that a shell cannot hold."""
    names, odd = [], []
    for name, value in env.items():
        if not is_name(name) or _SPECIAL.match(name) or (_LOCALE.match(name) and value not in _LOCALES):
            odd.append(quote(name + b"=" + value) + b" ")
        else:
            names.append(name + b"=" + quote(value) + b" ")
    return b"".join(names), b"".join(odd)


def enter(cwd: bytes) -> bytes:
    """Shell text that enters a directory named by exactly these bytes: no ``CDPATH``, no ``-``, no options.

    A function or an alias of this name, which a stateful shell may have, is passed by; so it is wherever a shell is to
    report.
    """
    return b"\\command cd -P -- " + quote(cwd if cwd.startswith(b"/") else b"./" + cwd)


class Frame:
    """How a command's streams and reports are written into a request; one for each framing.

    Attributes:
        stdin: the redirection of standard input (``</dev/null`` and the like).
        stdout: the redirection of standard output.
        stderr: the redirection of standard error; it comes first, so that it shows why another target cannot be opened.
        private: redirections that keep the shell's own descriptors from the command.
        say: shell text before a report's words.
        said: shell text after them.
    """

    __slots__ = ("private", "said", "say", "stderr", "stdin", "stdout")

    def __init__(self, stdin: bytes, stdout: bytes, stderr: bytes, private: bytes, say: bytes, said: bytes) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.private = private
        self.say = say
        self.said = said


def compose(
    body: Body, frame: Frame, seq: int, tag: bytes, *,
    cwd: bytes | None = None, base: bytes = b"/", acknowledge: bool = False,
) -> bytes:  # fmt: skip
    """One request.

    Args:
        body: the command.
        frame: its redirections and how to report.
        seq: the number that its reports carry.
        tag: the value of ``WARMSHELL_COMMAND``.
        cwd: the directory to run in, entered by the shell itself and left afterwards.
        base: the shell's own directory, to return to.
        acknowledge: whether ``SEQ s`` is reported before the command starts.
    """
    say, said = b"%s%d " % (frame.say, seq), frame.said
    if body.outputs == 2:
        core = b"%s %s %s %s %s" % (body.text, frame.stderr, frame.stdin, frame.stdout, frame.private)
    else:  # a builtin that reads nothing, says nothing on stderr and leaves nothing behind: half the time
        core = b"%s %s" % (body.text, frame.stdout) if body.outputs else body.text
    if acknowledge:
        # Not "{ }": after a syntax error in an eval between braces, bash takes no closing brace any more.
        core = b"if %ss%s;then %s %s;fi %s %s %s" % (
            say, said, body.text, frame.private, frame.stderr, frame.stdin, frame.stdout,
        )  # fmt: skip
    if body.tagged:
        core = b"%s=%s;%s%s" % (TAG, tag, body.prologue, core)
    if cwd is None and body.breaks_line:
        # The last line reports if the first did not come to its end. The empty one: after a syntax error in an eval,
        # bash misreads the first compound command of the next line.
        return b'%s;%s"$?"%s;_warm_e=%d\n\ncase ${_warm_e-} in %d);;*)%s"$?"%s;;esac\n' % (
            core, say, said, seq, seq, say, said,
        )  # fmt: skip
    if cwd is None:
        return b'%s;%s"$?"%s\n' % (core, say, said)
    return (
        b'if %s 2>/dev/null;then %s;_warm_s=$?;if %s 2>/dev/null;then unset OLDPWD;%s"$_warm_s"%s;'
        b'else %s"$_warm_s" x%s;fi;else %sc "$?"%s;fi\n'
    ) % (enter(cwd), core, enter(base), say, said, say, said, say, said)


def start_report(frame: Frame, seq: int) -> bytes:
    """Shell text that reports that a command starts, before a request that need not be asked to."""
    return b"%s%d s%s;" % (frame.say, seq, frame.said)


class Report:
    """One line that a shell reported: of which command, that it started, or how it ended."""

    __slots__ = ("event", "retire", "seq", "status")

    def __init__(self, seq: int, event: str, status: int = 0, retire: bool = False) -> None:
        self.seq = seq
        self.event = event
        self.status = status
        self.retire = retire


_SHORT = 20  # bytes, in which no number can be too long
_REPORT = re.compile(rb"(\d{1,18}) (?:(s)|c (\d{1,18})|(\d{1,18})( x)?)\Z")


def parse_report(line: bytes) -> Report:
    """The report that a line is.

    Raises:
        ValueError: for any other line: the framing is not certain any more.
    """
    number, _, said = line.partition(b" ")
    if number.isdigit() and said.isdigit() and len(line) < _SHORT:  # what nearly all of them are
        return Report(int(number), "ended", int(said))
    found = _REPORT.match(line)
    if found is None:
        raise ValueError(f"not a report: {line[:80]!r}")
    seq, start, no_directory, status, retire = found.groups()
    if start:
        return Report(int(seq), "started")
    if no_directory:
        return Report(int(seq), "no-directory", int(no_directory))
    return Report(int(seq), "ended", int(status), retire=retire is not None)
