"""The command connector: templates, its life, its locations, and what is said when it does not work."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import warmshell
from warmshell.connector.command import CommandConnector, Template
from warmshell.connector.occam import OccamConnector, run_words
from warmshell.errors import ConnectError, LocationError, ShellLost
from warmshell.testing import eventually

BWRAP = "bwrap --dev-bind / / --die-with-parent"
needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("nsenter -t 1 -m", [b"nsenter", b"-t", b"1", b"-m", b"a b", b"c"]),
        (["lxc", "exec", "{location}", "--"], [b"lxc", b"exec", b"x y", b"--", b"a b", b"c"]),
        (["f", "{words}", "g"], [b"f", b"a b", b"c", b"g"]),
        ("su -c {line} me", [b"su", b"-c", b"'a b' c", b"me"]),
        ("'a  b' --in={location}", [b"a  b", b"--in=x y", b"a b", b"c"]),
    ],
)
def test_templates(given: Any, made: list[bytes]):
    wrapped = Template(given, "exec").wrap("x y")([b"a b", b"c"])
    assert [word.replace(b"'c'", b"c") for word in wrapped] == made


def test_what_is_filled_in_is_not_looked_through_again():
    assert Template(["{location}", "-c", "{line}"], "exec").wrap("{line}")([b"{location}"]) == [
        b"{line}", b"-c", b"'{location}'",
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["", "  ", [], [""], "a 'b", ["a\0"], ["a", "x{words}"]])
def test_templates_that_are_none(given: Any):
    with pytest.raises(LocationError):
        Template(given, "exec")


async def test_any_program_of_its_own_will_do(tmp_path: Path):
    inside = tmp_path / "inside"
    inside.write_text('#!/bin/sh\nplace=$1; shift; echo noise; echo "noise $place" >&2; cd / && exec "$@"\n')
    inside.chmod(0o755)
    async with CommandConnector("c", exec=[str(inside), "{location}"], locations=["a", "b b"]) as connector:
        found = await connector.get_available_locations()
        assert set(found) == {"a", "b b"}
        assert found["a"].wraps is not None
        assert found["a"].wraps.local
        result = await connector.run("b b", "pwd; pwd >&2", capture_output=True)
        assert (result.text, result.stderr, result.location) == ("/\n", b"/\n", "b b")


async def test_its_life(tmp_path: Path):
    log = tmp_path / "log"
    acts = {act: f"echo {act} {{location}} $HOME >>{log}" for act in ("deploy", "undeploy")}
    options: dict[str, Any] = {"exec": "env", "locations": ["x", "it's"], **acts}
    async with CommandConnector("c", **options) as connector:
        assert (await connector.run("it's", ["true"])).ok
    home = os.environ.get("HOME", "")
    said = log.read_text().splitlines()
    assert said[:2] == [f"deploy x {home}", f"deploy it's {home}"]
    assert sorted(said[2:]) == sorted([f"undeploy it's {home}", f"undeploy x {home}"])
    log.unlink()
    connector = CommandConnector("c", **options)
    await connector.deploy(external=True)
    assert (await connector.run("x", ["true"])).ok
    await connector.undeploy(external=True)
    assert not log.exists()


async def test_what_was_deployed_is_undone_if_the_rest_cannot_be(tmp_path: Path):
    log = tmp_path / "log"
    connector = CommandConnector(
        "c", exec="env", locations=["x", "y", "z"], deploy=f"echo up {{location}} >>{log}; test {{location}} != y ||"
        " { echo no room >&2; exit 3; }", undeploy=f"echo down {{location}} >>{log}",
    )  # fmt: skip
    with pytest.raises(ConnectError, match="deploy failed with status 3: no room"):
        await connector.deploy()
    assert sorted(log.read_text().splitlines()) == ["down x", "down y", "up x", "up y"]
    await connector.undeploy()
    assert len(log.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        ({"undeploy": "echo down {location}"}, ["down x", "down y"]),
        ({"deploy": "echo up", "undeploy": "echo down {location}"}, ["down x", "down y", "up"]),
        ({"deploy": "echo up {location}", "undeploy": "echo down"}, ["down", "up x", "up y"]),
    ],
)
async def test_each_act_is_for_each_location_or_for_all(tmp_path: Path, acts: dict[str, str], said: list[str]):
    log = tmp_path / "log"
    given: dict[str, Any] = {act: f"{script} >>{log}" for act, script in acts.items()}
    async with CommandConnector("c", exec="env", locations=["x", "y"], **given) as connector:
        assert (await connector.run("x", ["true"])).ok
    assert sorted(log.read_text().splitlines()) == said


async def test_locations_that_a_script_tells(tmp_path: Path):
    names = tmp_path / "names"
    names.write_text("one\n\ntwo\n")
    async with CommandConnector("c", exec="env", locations=f"cat {names}") as connector:
        assert set(await connector.get_available_locations()) == {"one", "two"}
        names.write_text("two\nthree\n")
        assert set(await connector.get_available_locations()) == {"two", "three"}
        assert (await connector.run("three", ["true"])).ok
        names.write_text("two\ntwo\n")
        with pytest.raises(LocationError, match="'two' is named twice"):
            await connector.get_available_locations()
        names.unlink()
        with pytest.raises(ConnectError, match=r"locations failed with status 1: .*No such file"):
            await connector.get_available_locations()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("there-is-no-such-program", "there is no program 'there-is-no-such-program'"),
        (["sh", "-c", "echo I cannot >&2; exit 9"], r"'sh' starts no shell \(status 9\): I cannot"),
        (["sh", "-c", "exec sleep 1000"], "'sh' starts no shell that answers within 0.5 s"),
        (["true"], r"'true' starts no shell \(status 0\)"),
        (["sh", "-c", "kill -9 $$"], r"'sh' starts no shell \(status 137\)"),
    ],
)
async def test_what_is_said_when_it_does_not_work(words: Any, said: str):
    async with CommandConnector("c", exec=words, connectTimeout=0.5) as connector:
        with pytest.raises(ConnectError, match=said):
            await connector.location("c")


async def test_a_directory_that_is_not_there():
    async with CommandConnector("c", exec="env", cwd="/there/is/none") as connector:
        with pytest.raises(ConnectError, match=r"/there/is/none|cannot be entered"):
            await connector.location("c")


@needs_bwrap
async def test_several_inside_of_each_other():
    async with CommandConnector("a", exec=BWRAP) as a:
        own = CommandConnector("b", exec=BWRAP + " --unshare-pid --proc /proc", connector=a)
        async with own as b, CommandConnector("c", exec=BWRAP + " --unshare-uts --hostname deep", connector=b) as c:
            found = await c.get_available_locations()
            assert found["c"].hostname == "deep"
            around = found["c"].wraps
            assert around is not None
            assert around.wraps is not None
            assert [around.deployment, around.wraps.deployment] == ["b", "a"]
            assert (await c.run("c", ["uname", "-n"], capture_output=True)).text == "deep\n"


@needs_bwrap
@pytest.mark.parametrize("server", [True, False], ids=["server", "markers"])
@pytest.mark.parametrize("own", ["", " --unshare-pid --proc /proc", " --unshare-pid"], ids=["shared", "own", "no-proc"])
async def test_a_process_of_its_own_is_given_its_grace(tmp_path: Path, own: str, *, server: bool):
    done, ready = tmp_path / "done", tmp_path / "ready"
    script = f"trap 'echo bye >{done}; exit 3' TERM; setsid sleep 1000 & echo >{ready}; while :; do wait; done"

    async def is_ready() -> bool:
        return ready.exists()

    async with CommandConnector("c", exec=BWRAP + own, server=server) as connector:
        location = await connector.location("c")
        async with location.open(script) as process:
            await eventually(is_ready, 20, "it did not begin")
            await process.kill(5.0)
            assert done.read_text() == "bye\n"
            assert await process.wait() in (3, 137)
        assert location.place.framing == ("server" if server and not own.endswith("pid") else "markers")
        with pytest.raises(warmshell.CommandTimeout):
            await connector.run("c", "setsid sleep 1000 & sleep 1000", timeout=0.3)


# -- Occam ------------------------------------------------------------------------------------------------------------

_OCCAM = {
    "occam-run": """
while getopts n:i:c:s:v:x o; do test "$o" != n || node=$OPTARG; echo "option $o ${OPTARG:-}" >>LOG; done
shift $((OPTIND - 1)); echo "image $*" >>LOG
echo "Starting"; echo "$node-7: container started"
""",
    "occam-exec": 'name=$1; shift; echo "Trying to exec commands into $name..."; exec env OCCAM="$name" "$@"\n',
    "occam-kill": 'echo "kill $1" >>LOG\n',
}


@pytest.fixture
def occam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the facility's programs, which nobody can install: they run things here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in _OCCAM.items():
        (programs / name).write_text("#!/bin/sh\n" + text.replace("LOG", str(tmp_path / "log")))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "occam.yaml").write_text(
        "db: {image: 'reg/db:1', nodes: [node1, node2], volumes: ['/a:/b', '/c:/d'], command: [serve, '-x y']}\n"
        "web: {image: web}\n"
    )
    return tmp_path


async def test_occam(occam: Path):
    from warmshell.connector.local_connector import LocalConnector

    async with LocalConnector() as front:
        async with OccamConnector("o", str(occam), connector=front, file="occam.yaml") as connector:
            assert set(await connector.get_available_locations("db")) == {"node1-7", "node2-7"}
            assert set(await connector.get_available_locations()) == {"node1-7", "node2-7", "node22-7"}
            result = await connector.run("node2-7", "echo $OCCAM", capture_output=True)
            assert result.text == "node2-7\n"
            assert sorted(connector.held()["containers"]) == ["node1-7", "node2-7", "node22-7"]
        log = (occam / "log").read_text().splitlines()
        assert log.count("option v /c:/d") == 2
        assert "image reg/db:1 serve -x y" in log
        assert sorted(log[-3:]) == ["kill node1-7", "kill node2-7", "kill node22-7"]


def test_occam_run():
    service = {"image": "i", "stdin": True, "shmSize": "1g", "x11": False, "command": "x"}
    assert run_words(service, "n") == ["occam-run", "-n", "n", "-i", "-s", "1g", "i", "x"]


@pytest.mark.parametrize("text", ["db: {}", "db: {image: x, imgae: y}", "[1]", "a: ["])
def test_occam_services_that_are_none(tmp_path: Path, text: str):
    (tmp_path / "f").write_text(text)
    with pytest.raises(LocationError):
        OccamConnector("o", str(tmp_path), file="f")
    with pytest.raises(LocationError, match="cannot be read"):
        OccamConnector("o", str(tmp_path), file="g")


async def test_what_a_shell_has_said_may_be_lost_with_one_stream(tmp_path):
    """The command has begun, and the word that it has is lost: that is no silence."""
    ledger, relays, carrier = (tmp_path / name for name in ("ledger", "relays", "carrier"))
    relay_words = f"sh -c 'echo $$ >>{relays}; exec cat'"
    carrier.write_text(f'#!/bin/sh\nexec 3<&0\n"$@" <&3 3<&- | {relay_words} 3<&- &\nexec >/dev/null 3<&-\nwait\n')
    carrier.chmod(0o700)
    async with CommandConnector("c", exec=[str(carrier)], server=False) as connector:
        location = await connector.location("c")
        await location.run(["true"])
        relay = int(relays.read_text().split()[-1])
        os.kill(relay, signal.SIGSTOP)
        running = asyncio.ensure_future(location.run(f"echo begun >>{ledger}; exec sleep 1000"))
        await eventually(ledger.exists)
        os.kill(relay, signal.SIGKILL)
        with pytest.raises(ShellLost) as lost:
            await running
        assert lost.value.started == "unknown"
        assert ledger.read_text() == "begun\n"
        assert (await location.run(["echo", "next"])).text == "next\n"
