"""Options, words and URLs; what the program says of them."""

from __future__ import annotations

import re

import pytest

import warmshell
from apptainer.lab import Apptainer
from warmshell.connector.docker_words import flag
from warmshell.connector.singularity_words import (
    InstanceOptions,
    SingularityOptions,
    complaint,
    environment,
    exec_wrap,
    flags,
    start_words,
)
from warmshell.connector.wrapper import InsideOptions
from warmshell.deployment.types import connector_class


def test_every_option_is_a_flag_that_the_program_knows(apptainer: Apptainer) -> None:
    if not apptainer.ask("--version").startswith("apptainer version 1.4."):
        pytest.skip(
            "the options are those of Apptainer 1.4, as tests/backends/apptainer.sh gets it; here is another one"
        )
    known = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", apptainer.ask("instance", "start", "--help"), re.MULTILINE))
    names = set(InstanceOptions.__dataclass_fields__) - set(InsideOptions.__dataclass_fields__)
    ours = {flag(name) for name in names} | {"--env"}
    assert ours <= known
    # Two ask on a terminal, and checkpoints are another kind of life.
    assert known - ours == {"--docker-login", "--passphrase", "--dmtcp-launch", "--dmtcp-restart", "--help"}


def test_words() -> None:
    options = SingularityOptions(
        image="i",
        bind=["/a:/b", "/c"],
        cpus=1.5,
        nv=True,
        contain=False,
        env=["X=1"],
        noPrivs=True,
        command=["x", "y z"],
    )
    assert flags(options) == ["--bind=/a:/b", "--bind=/c", "--cpus=1.5", "--no-privs", "--nv"]
    words = start_words(options, "apptainer", "/i", "n", "h")
    assert words[4:7] == ["apptainer", "n", "h"]
    assert words[10:] == ["apptainer", "--quiet", "instance", "start", *flags(options), "/i", "n", "x", "y z"]
    inside = exec_wrap(options, "apptainer", "instance://n", running=True)([b"id"])
    assert inside == [b"apptainer", b"--quiet", b"exec", b"--no-privs", b"instance://n", b"id"]
    contained = exec_wrap(InstanceOptions(compat=True), "apptainer", "instance://n", running=True)([])
    assert contained[3:] == [b"--cleanenv", b"--no-eval", b"--no-umask", b"instance://n"]


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("apptainer", ["APPTAINERENV_A"]),
        ("/opt/bin/singularity", ["SINGULARITYENV_A"]),
        ("other", ["APPTAINERENV_A", "SINGULARITYENV_A"]),
    ],
)
def test_variables_for_each_program(program: str, names: list[str]) -> None:
    assert environment(InstanceOptions(env=["A=$x"]), program) == dict.fromkeys(names, r"\$x")
    assert environment(InstanceOptions(env=["A=$x"], noEval=True), program) == dict.fromkeys(names, "$x")


def test_what_it_complains_of_is_told_without_its_news() -> None:
    said = b"INFO:    Starting\n\x1b[91mERROR  : no room\n\x1b[0mWARNING: old\nFATAL:   not started\n"
    assert complaint(said) == "no room; not started"
    assert complaint(b"INFO: x\nUsage: y\n") == "Usage: y"


@pytest.mark.parametrize(
    ("given", "words"),
    [({}, "give image"), ({"image": "a", "instances": ["b"]}, "either image"), ({"image": "a", "env": ["X"]}, "X")],
)
def test_what_cannot_be_meant(given: dict[str, object], words: str) -> None:
    with pytest.raises(warmshell.LocationError, match=words):
        connector_class("singularity")("d", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["apptainer:", "apptainer://", "singularity:a/b.sif", "apptainer://-x"])
def test_urls_that_name_nothing(url: str) -> None:
    with pytest.raises(warmshell.LocationError, match="neither an image nor an instance"):
        warmshell.connect(url)


def test_an_instance_that_runs_has_its_options() -> None:
    with pytest.raises(warmshell.LocationError, match="has its options already"):
        warmshell.connect("apptainer://name?contain=yes")


async def test_options_of_an_image_in_a_url(apptainer: Apptainer) -> None:
    url = f"apptainer://{apptainer.image('busybox.sif')}?contain=yes&bind=/etc:/host&program={apptainer.program}"
    async with warmshell.connect(url) as node:
        assert (await node.run("ls /host/passwd && ls /tmp")).text == "/host/passwd\n"


async def test_no_such_image_and_no_such_instance(apptainer: Apptainer) -> None:
    for name in ("/nowhere.sif", "nowhere"):
        with pytest.raises(warmshell.ConnectError, match="nowhere"):
            async with apptainer.connect(name):
                pass
