"""The life of instances: started, used, ended, whatever happens to whom."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import warmshell
from apptainer.lab import Apptainer
from warmshell.deployment.file import DeploymentFile
from warmshell.deployment.manager import DeploymentManager
from warmshell.testing import eventually_sync

NASTY = "a b'c$HOME`id`$(id)\\\"!\n\\"


async def test_instances_are_started_used_and_ended(apptainer: Apptainer) -> None:
    async with apptainer.connector(count=2) as connector:
        names = list(await connector.get_available_locations())
        assert sorted(names) == sorted(apptainer.instances())
        assert len(names) == 2
        first, second = [await connector.run(name, "readlink /proc/1/ns/pid", capture_output=True) for name in names]
        assert first.check().stdout != second.check().stdout
        name = await connector.run(names[0], "echo $APPTAINER_INSTANCE", capture_output=True)
        assert name.text == f"{names[0]}\n"
    assert apptainer.instances() == []


@pytest.mark.parametrize("extra", [{}, {"cleanenv": True}, {"containall": True}, {"noEval": True}])
async def test_values_of_variables_are_exact_and_on_no_command_line(
    apptainer: Apptainer, extra: dict[str, object]
) -> None:
    async with apptainer.connector("busybox", env=[f"SECRET={NASTY}", "PLAIN=1"], **extra) as connector:
        [name] = await connector.get_available_locations()
        found = await connector.run(name, 'printf "%s,%s" "$SECRET" "$PLAIN"', capture_output=True)
        assert found.text == f"{NASTY},1"
        lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert name in lines
        assert "a b'c" not in lines


async def test_the_environment_around_is_left_outside_if_asked_for(
    apptainer: Apptainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMSHELL_TEST_AROUND", "seen")
    for options, seen in (({}, "seen\n"), ({"cleanenv": True}, "\n")):
        async with apptainer.connector("busybox", **options) as connector:
            [name] = await connector.get_available_locations()
            found = await connector.run(name, "echo $WARMSHELL_TEST_AROUND", capture_output=True)
            assert found.text == seen


async def test_what_is_bound_is_there(apptainer: Apptainer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside")
    async with apptainer.connector(contain=True, bind=[f"{tmp_path}:/data:ro"], writableTmpfs=True) as connector:
        [name] = await connector.get_available_locations()
        node = await connector.location(name)
        assert (await node.run("cat /data/file")).text == "from outside"
        assert not (await node.run("echo x >/data/file")).ok
        assert not (await node.run(f"test -e {tmp_path}")).ok
        assert (await node.run("echo x >/made && cat /made")).text == "x\n"


async def test_files_are_copied_in_and_out_and_not_sent_where_they_are_shared(
    apptainer: Apptainer, tmp_path: Path
) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "shared").mkdir()
    async with apptainer.connector(contain=True, bind=[f"{tmp_path}/shared:/data"]) as connector:
        [name] = await connector.get_available_locations()
        node = await connector.location(name)
        for target, sent in (("/tmp/file", True), ("/data/file", False)):
            assert ((await node.put(tmp_path / "file", target)).files > 0) is sent
            assert (await node.run(f"wc -c <{target}")).text.strip() == str(len(data))
            back = await node.get(target, tmp_path / "back")
            assert ((tmp_path / "back").read_bytes(), back.files > 0) == (data, sent)
            (tmp_path / "back").unlink()
    async with apptainer.connector("busybox") as connector:  # /tmp is that of the machine, unless it is contained
        [name] = await connector.get_available_locations()
        node = await connector.location(name)
        assert (await node.put(tmp_path / "file", f"{tmp_path}/again")).files == 0
    assert (tmp_path / "again").read_bytes() == data


async def test_what_leaves_no_parent_is_reaped(apptainer: Apptainer) -> None:
    async with apptainer.connector() as connector:
        [name] = await connector.get_available_locations()
        for _ in range(5):
            await connector.run(name, "(sleep 0 &) ; (sleep 0 &)")
        count = "ps -o stat,comm | grep '^Z.*sleep' | wc -l"
        node = await connector.location(name)
        while (await node.run(count)).text.strip() != "0":
            await asyncio.sleep(0.05)


async def test_those_that_run_are_left_running(apptainer: Apptainer) -> None:
    name = apptainer.start("busybox.sif", f"own-{os.getpid()}")
    try:
        async with apptainer.connector(instances=[name]) as connector:
            assert list(await connector.get_available_locations()) == [name]
            assert (await connector.run(name, "echo in", capture_output=True)).text == "in\n"
        external = apptainer.connector(instanceName=name)
        await external.deploy(external=True)
        assert (await external.run(name, "echo in", capture_output=True)).text == "in\n"
        await external.undeploy(external=True)
        assert apptainer.instances() == [name]
        taken = apptainer.connector(image=apptainer.image("busybox"), instanceName=name)
        with pytest.raises(warmshell.ConnectError, match="runs already"):
            await taken.deploy()
        await taken.undeploy()
        assert apptainer.instances() == [name]
    finally:
        apptainer.stop(name)


def client(apptainer: Apptainer, body: str, **more: object) -> subprocess.Popen[str]:
    options = {"image": apptainer.image("busybox.sif"), "program": apptainer.program, "count": 2, **more}
    program = f"""
        import asyncio, warmshell
        from warmshell.connector.singularity import ApptainerConnector
        async def main():
            async with ApptainerConnector("d", **{options!r}) as connector:
                name, *_ = await connector.get_available_locations()
                print(name, flush=True)
                {body}
        asyncio.run(main())
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("script", "said"), [("trap 'echo ended; exit' INT", "ended\n"), ("trap '' INT", "")])
async def test_what_an_instance_runs_is_asked_to_end_first(
    apptainer: Apptainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr("warmshell.connector.singularity_words.STOP_SECONDS", 0.2)
    image = tmp_path / "image"
    shutil.copytree(apptainer.image("busybox"), image, symlinks=True)
    start = image / ".singularity.d/startscript"
    start.write_text(f"#!/bin/sh\n{script}\necho up >{tmp_path}/up\nwhile :; do sleep 0.05; done\n")
    connector = apptainer.connector(image=str(image))
    await connector.deploy()
    [name] = apptainer.instances()
    eventually_sync((tmp_path / "up").exists)
    await connector.undeploy()
    assert apptainer.instances() == []
    [log] = apptainer.home.glob(f"config/*/instances/logs/*/*/{name}.out")
    assert log.read_text() == said


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_is_killed_leaves_no_instance(apptainer: Apptainer, number: signal.Signals) -> None:
    with client(apptainer, 'await connector.run(name, "sleep 1000")') as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(number)
        apptainer.nothing_left()
        process.wait()


async def test_given_up_while_it_is_started(apptainer: Apptainer, tmp_path: Path) -> None:
    slow = tmp_path / "apptainer"
    slow.write_text(f"""#!/bin/sh
case "$*" in *"instance start"*) echo >{tmp_path}/began; sleep 1000 ;; esac
exec {apptainer.program} "$@"
""")
    slow.chmod(0o755)
    connector = apptainer.connector(program=str(slow))
    deploying = asyncio.ensure_future(connector.deploy())
    while not (tmp_path / "began").exists():
        await asyncio.sleep(0.02)
    async with asyncio.timeout(30):
        await connector.undeploy()
    with pytest.raises(warmshell.ClosedError):
        await deploying
    assert apptainer.instances() == []
    # One waits for a while whether it comes up all the same.
    args = ["ps", "axww", "-o", "args"]
    eventually_sync(
        lambda: str(slow) not in subprocess.run(args, capture_output=True, text=True, check=True).stdout, 60
    )


def test_an_instance_that_comes_up_after_its_client_was_killed(apptainer: Apptainer, tmp_path: Path) -> None:
    slow = tmp_path / "apptainer"
    slow.write_text(f"""#!/bin/sh
case "$*" in *"instance start"*)
    unset WARMSHELL_COMMAND WARMSHELL_SESSION
    (setsid sh -c 'sleep 1.5; "$@"; echo >{tmp_path}/late' sh {apptainer.program} "$@" </dev/null >/dev/null 2>&1 &)
    echo >{tmp_path}/began
    exec sleep 1000 ;;
esac
exec {apptainer.program} "$@"
""")
    slow.chmod(0o755)
    with client(apptainer, "", program=str(slow), count=1) as process:
        eventually_sync((tmp_path / "began").exists, 20.0)
        process.kill()
        process.wait()
    eventually_sync((tmp_path / "late").exists, 20.0)
    apptainer.nothing_left()


async def test_what_a_dead_client_left_is_swept_and_nothing_else(apptainer: Apptainer) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    dead = apptainer.start("busybox", f"warm-{boot}.1.1-00000000")
    lives = apptainer.start("busybox", f"warm-elsewhe.{os.getpid()}.1-00000000")
    try:
        async with apptainer.connector() as connector:
            assert await connector.get_available_locations()
            assert dead not in apptainer.instances()
            assert lives in apptainer.instances()
    finally:
        apptainer.stop(lives)


async def test_an_instance_that_is_killed_loses_its_command_and_says_so(apptainer: Apptainer, tmp_path: Path) -> None:
    name = apptainer.start("busybox.sif", f"own-{os.getpid()}")
    async with apptainer.connect(name) as node:
        running = asyncio.ensure_future(node.run(f"echo began > {tmp_path}/began; sleep 1000"))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.02)
        apptainer.stop(name)
        with pytest.raises(warmshell.ShellLost) as lost:
            await running
        assert lost.value.started == "yes"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "/nowhere/image.sif"}, "/nowhere/image.sif"),
        ({"image": "/etc/passwd"}, "image format not recognized.*or no image"),
        ({"program": "no-apptainer-here"}, "no-apptainer-here"),
        ({"bind": ["/nowhere:/data"]}, "no instance could be started.*/nowhere"),
        ({"instanceName": "not a name"}, "no instance could be started.*not a valid"),
        ({"instances": ["no-such-instance"]}, "no-such-instance"),
    ],
)
async def test_what_cannot_be_is_one_clear_error(apptainer: Apptainer, options: dict[str, object], words: str) -> None:
    connector = apptainer.connector(**options)
    with pytest.raises(warmshell.WarmshellError, match=f"(?s){words}"):
        await connector.deploy()
    await connector.undeploy()
    assert apptainer.instances() == []


async def test_an_image_that_is_damaged(apptainer: Apptainer, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sif"
    damaged.write_bytes(Path(apptainer.image("busybox.sif")).read_bytes()[:100_000])
    connector = apptainer.connector(image=str(damaged))
    with pytest.raises(warmshell.ConnectError, match=r"(?s)no instance could be started.*damaged"):
        await connector.deploy()
    await connector.undeploy()


@pytest.mark.parametrize("type_", ["apptainer", "singularity"])
async def test_in_a_file_the_program_is_found_and_deployed_when_it_is_used(
    apptainer: Apptainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: str
) -> None:
    monkeypatch.setenv("PATH", f"{apptainer.home}/bin", prepend=os.pathsep)
    (tmp_path / "image").symlink_to(apptainer.image("busybox"))  # relative names begin where the file is
    path = tmp_path / "warmshell.yaml"
    path.write_text(json.dumps({"deployments": {"box": {"type": type_, "config": {"image": "image", "env": ["A=1"]}}}}))
    file = DeploymentFile(str(path))
    async with DeploymentManager(file) as holder:
        assert apptainer.instances() == []
        held = (await holder.deploy("box")).held()
        [name] = held["instances"]
        assert held["program"] == type_
        async with DeploymentManager(file, held={"box": held}) as other:
            assert (await other.connector("box").run(name, "echo $A", capture_output=True)).text == "1\n"
        assert apptainer.instances() == [name]
    assert apptainer.instances() == []


async def test_no_program(apptainer: Apptainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sh", "env"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    connector = type(apptainer.connector())("lab", image=apptainer.image("busybox"))
    with pytest.raises(warmshell.ConnectError, match="neither apptainer nor singularity"):
        await connector.deploy()
    await connector.undeploy()


def test_another_account_than_root(apptainer: Apptainer, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another account")
    become = ["setpriv", "--reuid=65534", f"--regid={pwd.getpwuid(65534).pw_gid}", "--clear-groups"]
    source = str(Path(warmshell.__file__).parents[1])
    trial = "import asyncio, subprocess, sys, warmshell; asyncio.timeout; subprocess.check_call([sys.executable, '-V'])"
    for python in (sys.executable, "/usr/bin/python3"):
        words = [*become, python, "-c", trial]
        if not subprocess.run(words, env={"PYTHONPATH": source}, cwd="/", capture_output=True, check=False).returncode:
            break
    else:
        pytest.skip("no Python of version 3.11 or later and this package can be read by other accounts")
    program = f"""
        import asyncio, os
        from warmshell.connector.singularity import ApptainerConnector
        async def main():
            options = dict(image={apptainer.image("busybox")!r}, program={apptainer.program!r})
            async with ApptainerConnector("d", **options) as connector:
                [name] = await connector.get_available_locations()
                print((await connector.run(name, "id -u", capture_output=True)).text, end="")
        asyncio.run(main())
    """
    done = subprocess.run(
        [*become, python, "-c", textwrap.dedent(program)], cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", "PYTHONPATH": source}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    if "user namespace" in done.stderr:
        pytest.skip(f"other accounts may not make user namespaces here: {done.stderr[-200:]}")
    assert (done.stdout, done.returncode) == ("65534\n", 0), done.stderr
