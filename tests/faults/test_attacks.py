"""What a stranger tried against shells, and what was wrong: each of these failed once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import shutil
import sys
from pathlib import Path

import pytest

import warmshell
from warmshell.testing import eventually_sync

sys.path.insert(0, str(Path(__file__).parent))

from client import Client

FRAMINGS = pytest.mark.parametrize("framing", ["pipes", "markers"])


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def _cancelled(task: asyncio.Task[None], *turns: int) -> None:
    """Cancel it after so many turns of the loop, and again, and again; then wait for its end."""
    for count in turns:
        await _turns(count)
        task.cancel()
    await asyncio.wait([task], timeout=20)
    assert task.done()
    if not task.cancelled():
        task.exception()


async def _use_shell(node: warmshell.Location) -> None:
    async with node.shell("bash") as shell:
        await shell.run("x=1")
        async with shell.subshell() as child:
            await child.run("echo $x")


async def _use_run(node: warmshell.Location) -> None:
    await node.run("sleep 0.001; echo x")


@FRAMINGS
@pytest.mark.parametrize("use", [_use_shell, _use_run])
async def test_cancelled_twice_in_any_turn_nothing_stays_open(framing: str, use: object) -> None:
    before = _descriptors()
    async with warmshell.connect("local:", framing=framing, shells=2) as node:
        for turn in range(40):
            task = asyncio.create_task(use(node))  # type: ignore[operator]
            await _cancelled(task, turn, turn % 7, 1)
        assert (await node.run("echo fresh", timeout=20)).stdout == b"fresh\n"
    assert _descriptors() == before


BAD_OPTIONS = {
    "output_limit=None": {"output_limit": None},
    "output_limit=str": {"output_limit": "5"},
    "output_limit=-1": {"output_limit": -1},
    "timeout=str": {"timeout": "5"},
    "user=int": {"user": 5},
    "env=list": {"env": [("A", "1")]},
    "env=surrogate": {"env": {"A": "\ud800"}},
    "stdin=file": {"stdin": io.BytesIO(b"unread")},
    "stdin=int": {"stdin": 5},
    "stdin=list": {"stdin": [b"unread"]},
}


@pytest.mark.parametrize("options", BAD_OPTIONS.values(), ids=BAD_OPTIONS)
async def test_an_option_of_a_wrong_type_is_refused(options: dict[str, object]) -> None:
    """Rather than to hang once the output comes, or to hand over no input at all."""
    async with warmshell.connect("local:") as node:
        with pytest.raises(warmshell.CommandError, match=r"\w+ \w+ \w+"):
            await asyncio.wait_for(node.run("cat; echo said", **options), 20)


@pytest.mark.parametrize("what", [["echo", "\ud800"], "echo \ud800"], ids=["words", "script"])
async def test_text_that_has_no_bytes_is_refused(what: object) -> None:
    with pytest.raises(warmshell.CommandError, match="ud800"):
        warmshell.Command(what)  # type: ignore[arg-type]


@FRAMINGS
@pytest.mark.parametrize("given", [bytearray(b"given"), memoryview(b"given")], ids=["bytearray", "memoryview"])
async def test_what_is_like_bytes_is_input(framing: str, given: bytes) -> None:
    async with warmshell.connect("local:", framing=framing) as node:
        assert (await node.run(["cat"], stdin=given)).stdout == b"given"


@FRAMINGS
@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_with_no_descriptor_left_commands_end_all_the_same(framing: str, left: int) -> None:
    """Killed, timed out, with more output than a pipe holds, with a child that keeps it open: none hangs."""
    body = f"""
    import contextlib

    @contextlib.contextmanager
    def few(left):
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(left):
            os.close(taken.pop())
        try:
            yield
        finally:
            for fd in taken:
                os.close(fd)

    async def one(script, left):
        async with warmshell.connect("local:?framing={framing}", shells=1) as node:
            await node.run("true")
            running = asyncio.create_task(node.run(script, timeout=2 if "1000" in script else 20))
            await asyncio.sleep(0)
            with few(left):
                await asyncio.wait([running])
            with contextlib.suppress(warmshell.CommandTimeout, warmshell.ShellLost):
                result = running.result()
                assert "300000" in script and len(result.stdout) == 1988895 or result.stdout == b"x\\n", result
            assert (await node.run("echo fresh", timeout=20)).stdout == b"fresh\\n"

    async def main():
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        for script in ("kill -9 $$", "sleep 1000", "seq 300000", "sleep 5 & echo x"):
            await one(script, {left})
        say("done")

    asyncio.run(main())
    """
    client = Client(body)
    status, out, err = client.end(60)
    assert (status, out, err) == (0, "done\n", "")
    client.nothing_left()


@FRAMINGS
@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize(
    "script",
    ["month[08]=3; echo no", "typeset -i n=08; echo no", "printf -v 'a[1/0]' x; echo no"],
)
async def test_an_error_that_makes_bash_drop_the_line_has_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framing: str, shell: str, script: str
) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    if shell == "sh":  # bash by another name
        (tmp_path / "sh").symlink_to(bash)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with warmshell.connect("local:", framing=framing) as node, node.shell(shell) as sh:
        for given in (None, b"input"):
            broken = await sh.run(script, stdin=given, timeout=20)
            assert (broken.returncode, broken.stdout, broken.stderr != b"") == (1, b"", True)
        after = await sh.run("echo said; (exit 3)", timeout=20)
        assert (after.returncode, after.stdout, after.stderr) == (3, b"said\n", b"")


@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_a_limit_on_files_in_a_shell_with_a_state_does_not_kill_it(shell: str) -> None:
    """What the shell prints of its state before each command, for subshells, is a file too."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    async with warmshell.connect("local:", framing="pipes") as node, node.shell(shell) as sh:
        await sh.run("x=before", timeout=20)
        await sh.run("ulimit -f 0; x=after", timeout=20)
        assert (await sh.run("echo $x", timeout=20)).stdout == b"after\n"
        async with sh.subshell() as child:
            assert (await child.run("echo $x", timeout=20)).stdout == b"after\n"


async def test_a_shell_that_cannot_print_its_state_has_no_subshell() -> None:
    if shutil.which("dash") is None:
        pytest.skip("dash is not installed")
    async with warmshell.connect("local:", framing="pipes") as node, node.shell("dash") as sh:
        await sh.run("ulimit -n 11", timeout=20)  # too few for it to redirect what it prints
        with pytest.raises(warmshell.NotSupported, match="state"):
            async with sh.subshell():
                pass


def test_a_present_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    body = """
    os.chdir(sys.argv[1])
    os.rmdir(sys.argv[1])

    async def main():
        try:
            async with warmshell.connect("local:"):
                say("connected")
        except warmshell.ConnectError as error:
            say(str(error))
        async with warmshell.connect("local:?cwd=/") as node:
            say((await node.run("pwd")).text.strip())

    asyncio.run(main())
    """
    directory = tmp_path / "gone"
    directory.mkdir()
    client = Client(body, str(directory))
    status, out, err = client.end(30)
    assert (status, err) == (0, "")
    told, where = out.splitlines()
    assert "cwd=" in told
    assert where == "/"
    client.nothing_left()


@FRAMINGS
async def test_closed_in_any_turn_of_starting_nothing_stays_open(framing: str) -> None:
    """And nothing that was being started goes on beyond the location's end."""

    async def in_a_shell(node: warmshell.Location) -> None:
        async with node.shell() as shell:
            await shell.run("echo x")

    before = _descriptors()
    for turn in range(40):
        async with warmshell.connect("local:", framing=framing) as node:
            others = asyncio.all_tasks()
            callers = [asyncio.create_task(node.run("echo x")) for _ in range(3)]
            callers.append(asyncio.create_task(in_a_shell(node)))
            callers.append(asyncio.create_task(node.run("echo x", env_only={})))
            await _turns(turn)
        for outcome in await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 20):
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, (warmshell.ClosedError, warmshell.ShellLost)), repr(outcome)
        assert asyncio.all_tasks() <= others, turn
        assert _descriptors() == before, turn


async def test_a_shell_without_descriptors_for_its_state_is_no_shell() -> None:
    body = """
    import contextlib, resource

    async def main():
        async with warmshell.connect("local:?framing=pipes") as node:
            await node.run("true")
            refused = 0
            for few in range(30):
                before = len(os.listdir("/proc/self/fd"))
                resource.setrlimit(resource.RLIMIT_NOFILE, (before + few, 4096))
                try:
                    async with node.shell() as shell:
                        await shell.run("true")
                except warmshell.ConnectError:
                    refused += 1
                resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
                assert len(os.listdir("/proc/self/fd")) == before, few
            say("refused" if 0 < refused < 30 else str(refused))

    asyncio.run(main())
    """
    client = Client(body)
    status, out, err = client.end(60)
    assert (status, out, err) == (0, "refused\n", "")
    client.nothing_left()


def test_a_client_that_changed_its_user_uses_markers() -> None:
    """The kernel then keeps its descriptors from all others, its own shells included."""
    body = """
    import ctypes
    from warmshell.connector.local import LocalPlace

    say(LocalPlace().framing)
    if os.geteuid() == 0:
        os.setuid(65534)
    else:
        assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0  # what the kernel does to it then
    say(LocalPlace().framing)
    """
    status, out, err = Client(body).end(30)
    assert (status, out, err) == (0, "pipes\nmarkers\n", "")


async def test_all_of_a_pipe_that_the_command_made_larger_is_read(tmp_path: Path) -> None:
    """Also if this loop was busy with something else, so that all of it is still there when the status comes."""
    program = "import fcntl,os,sys;fcntl.fcntl(1,1031,1<<20);os.write(1,b'x'*1000000);open(sys.argv[1],'x').close()"
    async with warmshell.connect("local:", framing="pipes", shells=1) as node:
        for number in range(2):
            written = tmp_path / str(number)
            words = [sys.executable, "-S", "-c", program, written]
            running = asyncio.create_task(node.run(words, timeout=60))
            while not node.statistics().busy:
                await asyncio.sleep(0)
            eventually_sync(lambda: written.exists() and not _is_running(written), 20)  # noqa: B023
            assert len((await running).stdout) == 1_000_000
            assert (await node.run("echo next", timeout=60)).stdout == b"next\n"


def _is_running(word: Path) -> bool:
    """Whether a process has this word."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.fsencode(word) + b"\0" in (entry / "cmdline").read_bytes():
                return True
    return False


def test_where_no_status_can_be_had_no_process_is_started() -> None:
    body = """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    async def main():
        async with warmshell.connect("local:") as node:
            say(str((await node.run(["false"])).returncode))
            for attempt in (node.open(["false"]).__aenter__(), node.run(["false"], pty=True)):
                try:
                    await attempt
                except warmshell.NotSupported as error:
                    say(str(error))

    asyncio.run(main())
    """
    client = Client(body)
    status, out, _err = client.end(30)
    assert status == 0
    assert out.startswith("1\n")
    assert out.count("SIGCHLD") == 4
    client.nothing_left()


async def test_a_location_is_entered_once() -> None:
    async with warmshell.connect("local:") as node:
        with pytest.raises(warmshell.BusyError):
            await node.__aenter__()
        assert (await node.run("echo still")).stdout == b"still\n"
    with pytest.raises(warmshell.ClosedError):
        await node.__aenter__()
