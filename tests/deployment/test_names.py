"""Names of deployments in the place of URLs, in the library and on the command line; processes that hold them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import warmshell
from cli.conftest import Cli
from deployment.conftest import Told
from warmshell.connector.place import Place
from warmshell.deployment import holder
from warmshell.deployment.names import DeployedPlace
from warmshell.errors import LocationError
from warmshell.testing import eventually_sync

FILE = """\
deployments:
  here: {type: local}
  inside:
    type: command
    config:
      exec: env
      deploy: echo up >>log
      undeploy: echo down >>log
  two: {type: command, wraps: inside, config: {exec: env, locations: [a, b]}}
"""


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory for sockets, with a short name; nothing may be left in it."""
    path = Path(tempfile.mkdtemp(prefix="ws-", dir="/tmp"))
    yield path
    path.rmdir()


@pytest.fixture
def place(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a deployment file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.delenv("WARMSHELL_FILE", raising=False)
    (tmp_path / "warmshell.yaml").write_text(FILE)
    return tmp_path


def log(place: Path) -> list[str]:
    return (place / "log").read_text().split() if (place / "log").exists() else []


async def test_names_in_the_place_of_urls(place: Path):
    async with warmshell.connect("inside") as one, warmshell.connect("two/b", file="warmshell.yaml", shells=2) as b:
        assert (one.name, b.name) == ("inside", "two/b")
        assert (await one.run(["echo", "x"])).text == "x\n"
        assert (await b.run("cat", stdin=b"y")).text == "y"
        async with one.shell() as shell, b.open(["cat"]) as process:
            await shell.run("cd /")
            assert (await shell.run("pwd")).text == "/\n"
            await process.stdin.aclose()
            assert await process.wait() == 0
        async with warmshell.Pool([one, b]) as pool:
            assert [result.text async for result in pool.map([["echo", "1"], ["echo", "2"]])] == ["1\n", "2\n"]
        assert log(place) == ["up"]
    assert log(place) == ["up", "down"]


def test_a_name_can_do_what_its_place_can():
    own = {"name", "address", "reach"}  # to reach it is to deploy it
    assert {name for name in vars(Place) if not name.startswith("_")} - own <= set(vars(DeployedPlace))


async def test_two_users_at_once_deploy_once(place: Path):
    async def use() -> None:
        async with warmshell.connect("inside") as node:
            assert (await node.run(["true"])).ok

    await asyncio.gather(*[use() for _ in range(5)])
    assert log(place) == ["up", "down"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("insid", r"no deployment 'insid'; is it 'inside'\?"),
        ("two", r"'two' has 2 locations .*two/a, two/b"),
        ("two/c", r"no location 'c' .*a, b"),
        ("here:", r"unknown location 'here:'"),
        ("nowhere://x", r"unknown location 'nowhere://x'"),
        ("", r"unknown location ''"),
    ],
)
async def test_names_that_mean_nothing(place: Path, name: str, said: str):
    with pytest.raises(LocationError, match=said):
        async with warmshell.connect(name):
            pass


async def test_options_of_a_deployment_stand_in_its_file(place: Path):
    with pytest.raises(LocationError, match="'cwd'"):
        warmshell.connect("inside", cwd="/")
    with pytest.raises(LocationError, match="shells="):
        warmshell.connect("inside", shells=0)
    (place / "warmshell.yaml").unlink()
    with pytest.raises(LocationError, match=r"unknown location 'inside' .*warmshell\.yaml, which is not here"):
        warmshell.connect("inside")


async def test_its_options_about_shells_hold(place: Path):
    (place / "warmshell.yaml").write_text("deployments: {a: {type: local, config: {shell: bash, shells: 1}}}")
    async with warmshell.connect("a") as node:
        assert (await node.run("echo ${BASH_VERSION:+bash}")).text == "bash\n"
        await asyncio.gather(*[node.run(["true"]) for _ in range(3)])
        assert node.statistics().started == 1
    async with warmshell.connect("a", shell="sh") as node:
        assert (await node.run("echo $0")).text.strip().endswith("sh")


async def test_a_deployment_that_fails(told: type[Told], place: Path):
    (place / "warmshell.yaml").write_text("deployments: {a: {type: told, config: {fails: 1}}}")
    with pytest.raises(warmshell.ConnectError, match="the power is off"):
        async with warmshell.connect("a"):
            pass
    assert told.story == ["up a", "down a"]


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def warm(place: Path) -> Iterator[Cli]:
    """The real command, in that directory; nothing of it may be left."""
    cli = Cli(place)
    yield cli
    cli.env["WARMSHELL_FILE"] = str(place / "warmshell.yaml")
    if holder_runs(place):
        cli("undeploy")
    eventually_sync(lambda: not cli.left(), 20, "something was left")


def holder_runs(place: Path) -> bool:
    return asyncio.run(holder.ask(str(place / "warmshell.yaml"), "ping")) is not None


def test_run_at_a_name(warm: Cli, place: Path):
    assert warm.output("run", "--on", "two/a", "--", "echo", "x") == b"x\n"
    assert log(place) == ["up", "down"]
    assert warm.output("map", "--on", "two/a", "--on", "two/b", "-k", "echo", "{}", ":::", "1", "2") == b"1\n2\n"
    lines = warm.output("map", "--on", "two", "-j", "1", "-k", "echo", "{}", ":::", "1", "2", "3")
    assert lines == b"1\n2\n3\n"
    told = warm.output("map", "--on", "two", "-j", "1", "--json", "true", ":::", "1", "2")
    assert {json.loads(line)["location"] for line in told.splitlines()} == {"a", "b"}
    assert "is it 'inside'?" in warm.refused("run", "--on", "insde", "--", "true")


def test_held_deployments_are_used_as_they_are(warm: Cli, place: Path):
    assert warm.output("deploy", "-b", "two") == b"deployed: two\n"
    assert log(place) == ["up"]
    assert warm.output("run", "--on", "two/a", "--", "echo", "x") == b"x\n"
    assert warm.output("deploy", "here", "inside") == b"deployed: here, inside\n"
    assert log(place) == ["up"]
    lines = warm.output("status").decode().splitlines()
    assert lines[0] == "here (local): deployed"
    assert "inside (command): deployed" in lines
    assert any(line.endswith("two (command): deployed") and line.startswith("└─ ") for line in lines)
    entries = {entry["name"]: entry for entry in map(json.loads, warm.output("status", "--json").splitlines())}
    assert [entries["two"]["wraps"], entries["two"]["state"]] == ["inside", "deployed"]
    assert [location["name"] for location in entries["two"]["locations"]] == ["a", "b"]
    for name, framing in (("here", "pipes"), ("inside", "server")):  # with and without a session server
        [used] = entries[name]["locations"]
        assert (used["state"], used["framing"], used["shells"]["busy"]) == ("connected", framing, 0)
        assert len(used["load"]) == 3
        assert ("subshells" in used) == (framing == "server")
        assert any(f"{used['name']}: {framing}; shells: 0 busy" in line and "; load " in line for line in lines)
    assert warm.output("undeploy", "two") == b""
    assert log(place) == ["up"]
    assert warm.output("undeploy") == b""
    assert log(place) == ["up", "down"]
    eventually_sync(lambda: not holder_runs(place), 20, "it still holds")
    assert "no process holds" in warm.refused("undeploy")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_holder_that_is_interrupted_takes_all_down(warm: Cli, place: Path, number: int):
    process = warm.start("deploy", "two")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"deployed: two\n"
        assert log(place) == ["up"]
        os.kill(process.pid, number)
        assert process.wait(60) == 128 + number
    finally:
        process.kill()
        process.communicate()
    assert log(place) == ["up", "down"]


@pytest.mark.parametrize("words", [["deploy"], ["deploy", "-b"], ["run", "--on", "a", "--", "true"]])
def test_interrupted_while_it_is_deployed(warm: Cli, place: Path, words: list[str]):
    (place / "warmshell.yaml").write_text(
        "deployments: {a: {type: command, config: {exec: env, deploy: 'echo up >>log; sleep 1000',"
        " undeploy: echo down >>log}}}"
    )
    process = warm.start(*words)
    try:
        eventually_sync(lambda: log(place) == ["up"], 30, "it was not deployed")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.communicate()
    eventually_sync(lambda: log(place) == ["up", "down"], 30, lambda: f"{log(place)}")


def test_a_holder_that_was_killed_leaves_the_way_free(warm: Cli, place: Path):
    process = warm.start("deploy", "inside")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    assert not holder_runs(place)
    assert warm.output("deploy", "-b", "inside") == b"deployed: inside\n"
    assert warm.output("undeploy") == b""


def test_what_cannot_be_deployed(warm: Cli, place: Path):
    (place / "warmshell.yaml").write_text("deployments: {a: {type: command, config: {exec: env, deploy: exit 3}}}")
    for words in (["deploy"], ["deploy", "-b"]):
        assert "deploy failed with status 3" in warm.refused(*words)
    assert "no deployment 'b'" in warm.refused("deploy", "b")
    (place / "warmshell.yaml").unlink()
    for word in ("deploy", "undeploy", "status"):
        assert "there is no warmshell.yaml here" in warm.refused(word)


def test_status_of_what_nobody_holds(warm: Cli, place: Path):
    assert warm.output("status").decode() == (
        "here (local): not deployed\ninside (command): not deployed\n└─ two (command): not deployed\n"
    )
    (place / "warmshell.yaml").write_text("deployments: {a: {type: locl}}")
    done = warm("status")
    assert (done.returncode, done.stdout.decode()) == (
        1, "a (?): wrong: warmshell.yaml:1:25: deployments.a.type: there is no type 'locl'; is it 'local'?\n"
    )  # fmt: skip


def test_status_tells_which_locations_are_away_and_why(warm: Cli, place: Path):
    (place / "warmshell.yaml").write_text(
        "deployments: {a: {type: command, config: {exec: 'false'}}, b: {type: local}}"
    )
    assert warm.output("deploy", "-b") == b"deployed: a, b\n"
    try:
        done = warm("status")
        assert done.returncode == 1
        top, away, other, here = done.stdout.decode().splitlines()
        assert (top, away) == ("a (command): deployed", "└─ a: away: 'false' starts no shell (status 1)")
        assert other == "b (local): deployed"
        assert here.startswith("└─ local: pipes; shells: ")
    finally:
        assert warm.output("undeploy") == b""


def test_validate_and_schema(warm: Cli, place: Path):
    assert warm.output("validate") == b""
    (place / "other.yaml").write_text("deployments:\n  a: {type: locl}\n  b: {type: local, lzy: true}\n")
    done = warm("validate", "warmshell.yaml", "other.yaml", "nothing.yaml")
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "other.yaml:2:13: deployments.a.type: there is no type 'locl'; is it 'local'?",
        "other.yaml:3:20: deployments.b: there is no 'lzy'; is it 'lazy'?",
        "nothing.yaml: No such file or directory",
    ]
    schema = json.loads(warm.output("schema"))
    assert schema["$defs"]["LocalOptions"]["properties"]["shells"]["anyOf"][0] == {"type": "integer", "minimum": 1}


def test_a_directory_of_somebody_else_is_not_trusted(warm: Cli, runtime: Path):
    own = runtime / f"warmshell-{os.getuid()}"
    own.mkdir()
    own.chmod(0o755)
    assert "only this account" in warm.refused("deploy", "here")
    assert warm.output("run", "--on", "inside", "--", "echo", "x") == b"x\n"
    own.rmdir()


def test_words_of_a_stranger_do_no_harm(warm: Cli, place: Path):
    import socket

    warm.output("deploy", "-b", "inside")
    path = holder.socket_path(str(place / "warmshell.yaml"))
    for words in (b"", b"nonsense\n", b"[]\n", b'{"op": "status"', b"\xff\n", b'{"op": "deploy", "names": 3}\n'):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(path)
            stranger.sendall(words)
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(20)
            stranger.recv(65536)
    assert b"inside (command): deployed" in warm.output("status")
    warm.output("undeploy")
