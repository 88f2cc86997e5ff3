"""More than two hundred faults at random: nothing is run twice, nothing lost in silence, nothing left behind."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ssh.storm import Account, Storm, Victims, seed
from warmshell.testing import eventually


@pytest.fixture
def chance():
    return random.Random(seed())


@pytest.fixture
def account(tmp_path):
    return Account(tmp_path / "ledger")


@pytest.fixture(autouse=True)
def _no_files_left(lab):
    yield
    lab.nothing_left()
    assert not list((lab.home / "home" / "root").glob(".cache/warmshell/*"))


def kills(storm: Storm, victims: Victims, *names: str):
    return {name: storm.kill(getattr(victims, name)) for name in names}


async def test_kills_at_both_ends(lab, account, chance, server):
    name = lab.host("stormy")
    own = ("server", "guard") if server else ()
    async with lab.connect(name, server=server, shells=4, retryDelay=0.05) as node:
        storm = Storm(node, account, chance)
        victims = Victims(lab, name, node)
        await storm.blow(kills(storm, victims, "connection", "process", "client", "master", *own), 75)
    lab.nothing_left()
    account.check(storm.done["process"])
    assert set(storm.done) >= {"connection", "process", "client", "master", *own}


async def test_no_lost_connection_loses_anything_of_a_detachable_session(lab, account, chance):
    name = lab.host("stormy")
    async with lab.connect(name, detach=60, shells=4, retryDelay=0.05) as node:
        storm = Storm(node, account, chance)
        await storm.blow(kills(storm, Victims(lab, name, node), "connection", "client", "master"), 50)
    lab.nothing_left()
    account.check(0)
    assert account.count("done") == len(account.outcomes)


async def test_a_detachable_session_that_is_killed_is_no_worse_than_another(lab, account, chance):
    name = lab.host("stormy")
    async with lab.connect(name, detach=60, shells=4, retryDelay=0.05) as node:
        storm = Storm(node, account, chance)
        victims = Victims(lab, name, node)
        await storm.blow(kills(storm, victims, "connection", "process", "server", "guard"), 25)
    lab.nothing_left()
    account.check(storm.done["process"])


async def test_short_cuts_of_the_link_lose_nothing(link, account, chance, server):
    async with link.lab.connect(link.host, server=server, shells=4) as node:
        storm = Storm(node, account, chance)

        async def cut() -> bool:
            link.cut()
            await asyncio.sleep(chance.random() * 0.4)
            link.mend()
            return True

        await storm.blow({"cut": cut}, 6)
    link.lab.nothing_left()
    account.check(0)
    assert account.count("done") == len(account.outcomes)


CLIENT = """
import asyncio, itertools, sys
import warmshell

async def main(url, config, server, ledger):
    numbers = itertools.count()

    async def work(node):
        while True:
            number = next(numbers)
            await node.run(f"echo {number} >>{ledger}; sleep 0.01")

    async with warmshell.connect(url, config=config, server=server == "True", shells=4) as node:
        await node.run("setsid sleep 1000 >/dev/null 2>&1 &")
        print("on", flush=True)
        await asyncio.gather(*[work(node) for _ in range(4)])

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_clients_run_nothing_twice(lab, tmp_path, chance, server):
    for number in range(4):
        ledger = tmp_path / f"ledger{number}"
        words = [sys.executable, "-c", CLIENT, "ssh://hostA", lab.config, str(server), str(ledger)]
        client = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if number:  # else it is killed while it connects
            assert await client.stdout.readline() == b"on\n"
        await asyncio.sleep(chance.random() * 0.4)  # to come at a moment that nobody chose
        client.kill()
        await client.wait()
        client._transport.close()
        lab.nothing_left()
        ran = ledger.read_text().split() if ledger.exists() else []
        assert len(ran) == len(set(ran))
        await eventually(lambda pid=client.pid: not list(Path("/tmp").glob(f"warm-{pid}-*")), 20)
