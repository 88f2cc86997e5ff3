"""The ssh theme: its servers come and go, its contenders do the work that they are timed for."""

import asyncio
import shlex
import subprocess
from pathlib import Path

import pytest
from bench.cpu import ROOTS, Meter
from bench.harness import timed
from bench.model import CASES, Outcome, Report, Sample, Target, judge
from bench.report import plots, table, targets
from bench.run import main, select

from bench import peers, ssh, ssh_lab, ssh_load, ssh_ours, ssh_peers
from warmshell.cli.usage import descendants

WORDS = ["/bin/true"]
FAR = ssh_lab.FAR
ENDLESS = "exec head -c {size} /dev/zero"
# Made where there are servers: what they need is only known then.
ALL = {
    "ours": lambda: ssh_ours.run(WORDS),
    "ours-without-python": lambda: ssh_ours.run(WORDS, user=ssh_lab.NO_PYTHON),
    "ours-many": lambda: ssh_ours.many(WORDS, 4),
    "ours-refused": lambda: ssh_ours.refused(WORDS, 12),
    "ours-batch": lambda: ssh_ours.batch(WORDS, 4, 4, host=FAR),
    "ours-gigabyte": lambda: ssh_ours.gigabyte("x"),
    "ours-gigabyte-beside": lambda: ssh_ours.gigabyte("x", beside=True),
    "ours-open": lambda: ssh_ours.opened_gigabyte("x", share=1),
    "ours-idle": lambda: ssh_ours.small("x", beside=False),
    "ours-beside": lambda: ssh_ours.small("x", beside=True),
    "server": lambda: ssh_ours.server_memory("x", 2),
    "subshell": lambda: ssh_ours.subshell_memory("x", 2),
    "ssh": lambda: ssh_peers.ssh(WORDS),
    "master": lambda: ssh_peers.master(WORDS),
    "master-many": lambda: ssh_peers.master(WORDS, width=4),
    "asyncssh": lambda: ssh_peers.asyncssh_run(WORDS),
    "asyncssh-gcm": lambda: ssh_peers.asyncssh_run(WORDS, cipher=ssh_peers.GCM, host=FAR),
    "asyncssh-many": lambda: ssh_load.asyncssh_many(WORDS, connections=2),
    "asyncssh-gigabyte": lambda: ssh._asyncssh_gigabyte(1.0),
    "asyncssh-beside": lambda: ssh._asyncssh_small("x", beside=True),
    "paramiko": lambda: ssh_peers.paramiko(WORDS),
    "fabric": lambda: ssh_peers.fabric(WORDS),
    "mitogen": lambda: ssh_peers.mitogen(WORDS),
    "mitogen-nothing": lambda: ssh_peers.mitogen(None, host=FAR),
    "mitogen-many": lambda: ssh_load.mitogen_many(WORDS),
    "execnet": lambda: ssh_peers.execnet(WORDS),
    "execnet-nothing": lambda: ssh_peers.execnet(None, host=FAR),
    "memory-mitogen": lambda: ssh_load.far_memory()[0],
    "memory-execnet": lambda: ssh_load.far_memory()[1],
    "cat": lambda: ssh_peers.cat(host=FAR),
    "dash": lambda: ssh_peers.dash(["echo", "hi"], b"hi\n"),
    "one-trip": lambda: ssh_peers.one_trip("x", FAR),
    "pipe": lambda: ssh_load.pipe("x", ENDLESS, "floor", ssh_peers.GCM, share=1),
    "pipe-kept": lambda: ssh_load.pipe("x", ENDLESS, "floor", ssh_peers.GCM, share=1, keep=True),
}


@pytest.fixture(scope="module")
def servers():
    with ssh_lab.running():
        if ssh_lab.missing():
            pytest.skip(ssh_lab.missing())
        if peers.package_missing("mitogen") is None:
            asyncio.run(once(ssh_peers.mitogen(None)))
        yield ssh_lab.current()


async def once(contender):
    """Mitogen keeps a thread and two sockets as long as the process lives: not what a test is to find."""
    async with contender.make() as block:
        await block(1)


@pytest.mark.filterwarnings("ignore")  # the peers' own
@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
async def test_each_contender_runs_and_leaves_nothing(servers, make):
    contender = make()
    if contender.missing:
        pytest.skip(contender.missing)
    async with contender.make() as block:
        sample = await timed(block, 3)
    assert sample.value >= 0
    async with asyncio.timeout(10):
        while sessions(servers):
            await asyncio.sleep(0.02)
    assert descendants() == []


def sessions(servers):
    """The programs that sessions at these servers began."""
    address = servers.host(ssh_lab.NEAR).address
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = file.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(v.startswith(b"SSH_CONNECTION=") and f" {address} ".encode() in v for v in variables):
            found.append(file.parent.name)
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        lambda: ssh_ours.run(["false"]), lambda: ssh_peers.ssh(["false"]), lambda: ssh_peers.master(["false"]),
        lambda: ssh_peers.asyncssh_run(["false"]), lambda: ssh_peers.paramiko(["false"]),
        lambda: ssh_peers.fabric(["false"]), lambda: ssh_peers.mitogen(["false"]),
        lambda: ssh_peers.execnet(["false"]), lambda: ssh_peers.dash(["false"], b""),
        lambda: ssh_load.pipe("x", "echo {size}", "floor", ssh_peers.GCM, share=1),
    ],
)  # fmt: skip
async def test_a_command_that_fails_is_not_timed_as_if_it_had_worked(servers, make):
    contender = make()
    if contender.missing:
        pytest.skip(contender.missing)
    async with contender.make() as block:
        with pytest.raises(Exception):  # noqa: B017 - each has a kind of its own
            await block(1)


@pytest.mark.parametrize("make", [ssh_load.asyncssh_refused, ssh_load.paramiko_refused, ssh_load.fabric_refused])
async def test_who_is_refused_is_counted(servers, make):
    # Not "true": sshd is sure to have more than ten sessions at once.
    contender = make("sleep 0.3", 16)
    if contender.missing:
        pytest.skip(contender.missing)
    async with contender.make() as block:
        reading = await block(16)
    assert 0 < reading.value < 1


async def test_the_share_of_what_is_refused():
    answers = iter([None, OSError(), None, OSError()])

    async def one():
        answer = next(answers)
        if answer is not None:
            raise answer

    assert (await ssh_load.counting(one, 2, OSError)(4)).value == 0.5


async def test_an_idle_server_takes_next_to_nothing_and_a_busy_one_is_seen(servers):
    async with ssh_ours.idle_cpu("x", 2).make() as block:
        assert (await block(1)).value < 0.5
    async with ssh_ours.place(shells=1) as node:
        pid = await ssh_ours.server_of(node)
        assert shlex.split(Path(f"/proc/{pid}/comm").read_text())[0].startswith("python")
        before = ssh_ours._exact_seconds(pid)
        await node.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
        assert ssh_ours._exact_seconds(pid) > before


async def test_work_of_the_servers_is_the_harness_own(servers):
    assert ROOTS
    meter = Meter()
    loop = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
    subprocess.run([*ssh_peers.ssh_words(ssh_lab.NEAR), loop], check=True)
    assert int((servers.home / "hosts/hostA/pid").read_text()) in ROOTS
    async with asyncio.timeout(10):
        while meter.read() < 0.05:  # until sshd has waited for its children
            await asyncio.sleep(0.02)


def test_the_servers_end_with_the_run():
    with ssh_lab.running():
        if ssh_lab.missing():
            pytest.skip(ssh_lab.missing())
        lab, roots = ssh_lab.current(), set(ROOTS)
        assert roots
    assert not lab.home.exists()
    for pid in roots - ROOTS:
        words = Path(f"/proc/{pid}/cmdline")
        assert not words.exists() or str(lab.home).encode() not in words.read_bytes()


def test_without_servers_everyone_says_so(monkeypatch):
    monkeypatch.setattr(ssh_lab, "_labs", [])
    monkeypatch.setattr(ssh_lab, "_reason", "only root can")
    assert {one.missing for one in ssh.ssh_echo()} >= {"only root can"}
    assert all(one.missing for name in CASES if name.startswith("ssh-") for one in CASES[name].contenders())


async def test_the_median_of_each_operation():
    calls = []

    async def block(count):
        calls.append(count)
        await asyncio.sleep(0.2 if len(calls) == 2 else 0)

    sample = await timed(block, 5, each=True)
    assert calls == [1] * 5
    assert sample.value < 0.1  # the mean is not


def test_the_theme_runs_only_when_it_is_asked_for():
    assert "ssh" not in {one.theme for one in select([])}
    assert {one.theme for one in select(["ssh"])} == {"ssh"}
    assert [one.name for one in select(["ssh-echo"])] == ["ssh-echo"]


@pytest.mark.parametrize("arguments", [["--only", "latency"], ["--only", "ssh", "--only", "latency"], ["--only", "s*"]])
def test_pages_are_made_of_whole_runs(arguments):
    with pytest.raises(SystemExit):
        main(["--docs", *arguments])


def report(unit, value):
    outcome = Outcome("ours", "warm", samples=[Sample(value)])
    made = Report("n", "ssh", "T", "", unit, 1, 1, "ours", False, [outcome], [])
    made.verdicts.append(judge(Target("t", "ours", None, "<=", 1), made))
    return made


@pytest.mark.parametrize(
    ("unit", "value", "shown"), [("failures", 0.25, "25 %"), ("batch", 0.25, "250 ms"), ("bytes", 12e6, "12 MB")]
)
def test_figures_have_their_unit(unit, value, shown):
    made = report(unit, value)
    assert f"| **ours** | {shown} |" in table(made)
    assert f"| {shown} ({shown} to {shown}) |" in targets([made])
    machine = {"cpus": 2, "system": "Linux 6", "python": "3.11", "sh": "dash"}
    assert plots({"machine": machine}, [made])["ssh"].startswith("<svg")
