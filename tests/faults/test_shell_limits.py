"""What shells cannot promise, as docs/guarantees.md has it: each of these is as it says, and harms nobody else."""

from __future__ import annotations

import shutil

import pytest

import warmshell

FRAMINGS = pytest.mark.parametrize("framing", ["pipes", "markers"])


def shells(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shell", names)


def needs(shell: str) -> None:
    if shutil.which(shell.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{shell} is not installed")


async def after(framing: str, shell: str, script: str, then: str = "echo on") -> tuple[object, object]:
    """What comes of a script in a shell with a state, and of the next one; the location goes on."""
    needs(shell)
    outcomes: list[object] = []
    async with warmshell.connect("local:", framing=framing) as node:
        async with node.shell(shell) as sh:
            await sh.run("true")
            for each in (script, then):
                try:
                    outcomes.append(await sh.run(each, timeout=1))
                except (warmshell.CommandTimeout, warmshell.ShellLost, warmshell.OutputError) as error:
                    outcomes.append(error)
        assert (await node.run("echo on", timeout=20)).stdout == b"on\n"
    return outcomes[0], outcomes[1]


@FRAMINGS
@pytest.mark.parametrize(
    ("shell", "handed_on"), [("dash", False), ("busybox sh", False), ("mksh", False), ("bash", True), ("zsh", True)]
)
async def test_a_variable_of_a_name_that_no_shell_can_hold(framing, shell, handed_on):
    needs(shell)
    async with warmshell.connect("local:", framing=framing, shell=shell) as node:
        assert (await node.run(["printenv", "a.b"], env={"a.b": "v"})).stdout == b"v\n"
        assert (await node.run("printenv a.b", env={"a.b": "v"})).ok is handed_on


@FRAMINGS
@shells("dash", "bash", "busybox sh", "zsh", "mksh")
async def test_a_shell_that_executes_nothing_more(framing, shell):
    outcomes = await after(framing, shell, "set -n")
    assert any(isinstance(outcome, warmshell.CommandTimeout) for outcome in outcomes)


@FRAMINGS
@shells("dash", "bash", "busybox sh", "zsh", "mksh")
async def test_a_function_in_the_place_of_command(framing, shell):
    first, then = await after(framing, shell, "command() { echo mine; }")
    assert isinstance(first, (warmshell.ShellLost, warmshell.CommandTimeout))
    assert isinstance(then, warmshell.ShellLost)
    assert then.started == "no"


@FRAMINGS
async def test_bash_without_its_command(framing):
    first, then = await after(framing, "bash", "enable -n command")
    assert isinstance(first, warmshell.CommandTimeout)
    assert isinstance(then, warmshell.ShellLost)


@FRAMINGS
@shells("dash", "busybox sh", "zsh", "mksh")
async def test_too_few_descriptors_for_the_shell_itself(framing, shell):
    """The next command is not run, and does not seem to have been."""
    _, then = await after(framing, shell, "ulimit -n 10")
    assert isinstance(then, warmshell.WarmshellError) or not then.ok


@FRAMINGS
async def test_busybox_closes_what_is_its_own(framing):
    first, then = await after(framing, "busybox sh", "exec 10>&-")
    assert isinstance(first, warmshell.CommandTimeout)
    assert isinstance(then, warmshell.ShellLost)


@FRAMINGS
@shells("dash", "bash", "busybox sh", "zsh")
async def test_a_trace_in_a_shell_with_a_state_shows_lines_of_ours(framing, shell):
    _, then = await after(framing, shell, "set -x")
    assert (then.returncode, then.stdout) == (0, b"on\n")
    assert b"eval" in then.stderr


@FRAMINGS
@shells("bash", "zsh")
async def test_a_debug_trap_runs_for_lines_of_ours(framing, shell):
    _, then = await after(framing, shell, "trap 'echo T >&2' DEBUG")
    assert (then.returncode, then.stdout) == (0, b"on\n")
    assert then.stderr.count(b"T\n") > 1


@FRAMINGS
@shells("dash", "bash", "busybox sh", "zsh", "mksh")
async def test_the_tag_made_readonly(framing, shell):
    """Nothing can be run in that shell any more: a status other than 0, or an error."""
    _, then = await after(framing, shell, "readonly WARMSHELL_COMMAND")
    assert isinstance(then, warmshell.OutputError) or (then.returncode != 0 and then.stdout == b"")


async def test_mksh_traced_is_lost_with_own_pipes():
    _, then = await after("pipes", "mksh", "set -x")
    assert isinstance(then, warmshell.ShellLost)
