"""Deployed once, after what it wraps; taken down in the reverse order, whatever happened meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployment.conftest import Told
from warmshell.connector.local_connector import LocalConnector
from warmshell.deployment.file import Deployment, DeploymentFile, Wraps
from warmshell.deployment.future import FutureConnector
from warmshell.deployment.manager import DeploymentManager
from warmshell.errors import ClosedError, ConnectError, LocationError
from warmshell.testing import eventually


def told_of(name: str, inside: str | None = None, **options: Any) -> Deployment:
    more = {key: options.pop(key) for key in ("external", "lazy") if key in options}
    return Deployment(name, "told", options, wraps=None if inside is None else Wraps(inside), **more)


def chain(**options: Any) -> list[Deployment]:
    return [told_of("outer", "middle"), told_of("middle", "inner", **options), told_of("inner"), told_of("other")]


async def test_nothing_is_deployed_before_it_is_used(told: type[Told]):
    async with DeploymentManager(chain()) as manager:
        connector = manager.connector("outer")
        assert told.story == []
        assert (await connector.run("outer", ["echo", "x"], capture_output=True)).text == "x\n"
        assert told.story == ["up inner", "up middle", "up outer"]
    assert told.story == ["up inner", "up middle", "up outer", "down outer", "down middle", "down inner"]


async def test_what_is_not_lazy_is_deployed_at_once(told: type[Told]):
    async with DeploymentManager([told_of("a", lazy=False), told_of("b")]):
        assert told.story == ["up a"]
    assert told.story == ["up a", "down a"]


async def test_what_is_wrong_hurts_only_who_uses_it(told: type[Told]):
    text = "deployments: {a: {type: told, lazy: false}, b: {type: unknown, lazy: false}, c: {type: told}}"
    async with DeploymentManager(DeploymentFile("f", text)) as manager:
        assert told.story == ["up a"]
        with pytest.raises(LocationError, match="'unknown'"):
            manager.connector("b")


async def test_deployed_once_whoever_asks_and_whatever_asks_at_the_same_time(told: type[Told]):
    async with DeploymentManager(chain()) as manager:
        outer, middle = manager.connector("outer"), manager.connector("middle")
        assert manager.connector("outer") is outer
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(outer.get_available_locations())
                group.create_task(middle.run("middle", ["true"]))
                group.create_task(manager.deploy("outer"))
                group.create_task(outer.get_shell(["sh"], "outer"))
        assert told.story == ["up inner", "up middle", "up outer"]


async def test_one_failure_reaches_every_waiter_and_a_later_attempt_may_succeed(told: type[Told]):
    told.gates["middle"] = asyncio.Event()
    async with DeploymentManager(chain(fails=1)) as manager:
        outer = manager.connector("outer")
        waiting = [asyncio.ensure_future(outer.run("outer", ["true"])) for _ in range(5)]
        waiting.append(asyncio.ensure_future(manager.deploy("middle")))
        await eventually(lambda: _said(told, "up middle"), 10, "it was not deployed")
        told.gates["middle"].set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectError] * 6
        assert {str(outcome) for outcome in outcomes} == {str(outcomes[0])}
        assert "the power is off" in str(outcomes[0])
        assert (await outer.run("outer", ["true"])).ok
    assert told.story.count("up inner") == 1
    assert told.story[-3:] == ["down outer", "down middle", "down inner"]


async def _said(told: type[Told], what: str) -> bool:
    return what in told.story


async def test_a_waiter_that_is_cancelled_takes_it_from_no_other(told: type[Told]):
    told.gates["inner"] = asyncio.Event()
    async with DeploymentManager(chain()) as manager:
        first = asyncio.ensure_future(manager.deploy("inner"))
        second = asyncio.ensure_future(manager.deploy("inner"))
        await eventually(lambda: _said(told, "up inner"), 10, "it was not deployed")
        first.cancel()
        told.gates["inner"].set()
        await second
        assert told.story == ["up inner"]
        assert first.cancelled()


async def test_taken_down_although_it_was_being_deployed(told: type[Told]):
    told.gates["middle"] = asyncio.Event()
    manager = DeploymentManager(chain())
    deploying = asyncio.ensure_future(manager.deploy("outer"))
    await eventually(lambda: _said(told, "up middle"), 10, "it was not deployed")
    await manager.aclose()
    with pytest.raises(ClosedError):
        await deploying
    assert told.story == ["up inner", "up middle", "down middle", "down inner"]


async def test_taken_down_although_the_block_was_cancelled_again_and_again(told: type[Told]):
    entered = asyncio.Event()

    async def use() -> None:
        async with DeploymentManager(chain()) as manager:
            await manager.deploy("outer")
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(use())
    await entered.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.story[-3:] == ["down outer", "down middle", "down inner"]


async def test_all_others_are_taken_down_although_one_does_not_go(told: type[Told]):
    manager = DeploymentManager(chain(stays=True))
    await manager.deploy("outer")
    await manager.deploy("other")
    with pytest.raises(ConnectError, match="it does not go"):
        await manager.aclose()
    assert sorted(told.story[-4:]) == ["down inner", "down middle", "down other", "down outer"]
    down = [story for story in told.story if story.startswith("down") and "other" not in story]
    assert down == ["down outer", "down middle", "down inner"]


async def test_undeploying_one_takes_down_what_is_inside_of_it_and_it_may_come_again(told: type[Told]):
    async with DeploymentManager(chain()) as manager:
        outer = await manager.deploy("outer")
        await manager.undeploy("middle")
        assert told.story == ["up inner", "up middle", "up outer", "down outer", "down middle"]
        await manager.undeploy("middle")
        assert len(told.story) == 5
        assert (await outer.run("outer", ["true"])).ok
        assert told.story[5:] == ["up middle", "up outer"]
        with pytest.raises(LocationError, match="'nope'"):
            await manager.undeploy("nope")


async def test_an_external_one_is_only_connected_to(told: type[Told]):
    async with DeploymentManager([told_of("a", external=True)]) as manager:
        await manager.deploy("a")
    assert told.story == ["up a external", "down a external"]


async def test_whoever_ends_a_future_connector_ends_what_is_inside_and_spares_what_is_external(told: type[Told]):
    some = [told_of("a", external=True), told_of("b", "a")]
    async with DeploymentManager(some) as manager:
        async with manager.connector("a"):
            await manager.connector("b").run("b", ["true"])
        assert told.story == ["up a external", "up b", "down b", "down a external"]


async def test_what_another_process_holds_is_only_connected_to(told: type[Told]):
    async with DeploymentManager([told_of("a")], held={"a": {"fails": 0}}) as manager:
        await manager.deploy("a")
    assert told.story == ["up a external", "down a external"]


async def test_closed_is_closed(told: type[Told]):
    manager = DeploymentManager(chain())
    connector = manager.connector("inner")
    await manager.aclose()
    await manager.aclose()
    with pytest.raises(ClosedError):
        await connector.run("inner", ["true"])
    with pytest.raises(ClosedError):
        manager.connector("inner")
    assert told.story == []


async def test_wrong_deployments_are_refused(told: type[Told]):
    circle = [told_of("a", "b"), told_of("b", "a"), Deployment("c", "local", wraps=Wraps("a")), told_of("d", "none")]
    wrong = DeploymentManager([Deployment("e", "local", {"nothing": 1})])
    with pytest.raises(LocationError, match="there is no 'nothing'"):
        wrong.connector("e")
    manager = DeploymentManager([*circle, Deployment("e", "local", {"shells": "many"}), Deployment("f", "command")])
    for name, said in (("e", "e: shells: has to be a whole number"), ("f", "f: 'exec' is missing")):
        with pytest.raises(LocationError, match=said):
            manager.connector(name)
    for name, said in (("a", "wraps itself: a in b in a"), ("c", "wraps no other"), ("d", "'none'")):
        with pytest.raises(LocationError, match=said):
            manager.connector(name)


async def test_a_future_connector_is_what_it_stands_for(told: type[Told]):
    async with DeploymentManager([told_of("a"), Deployment("here", "local")]) as manager:
        connector, here = manager.connector("a"), manager.connector("here")
        assert isinstance(connector, FutureConnector)
        assert isinstance(connector, Told)
        assert not isinstance(connector, LocalConnector)
        assert isinstance(here, LocalConnector)
        assert (connector.deployment_name, connector.state, connector.away) == ("a", "not deployed", {})
        assert (connector.held(), connector.template(None)) == ({"fails": 0}, "told")
        assert told.story == []
        await connector.deploy()
        assert told.story == []
        assert set(await connector.get_available_locations()) == {"a"}
        assert (connector.state, list(connector.connected)) == ("deployed", ["a"])


async def test_relative_names_begin_where_the_file_is(tmp_path: Any):
    (tmp_path / "warmshell.yaml").write_text("deployments: {a: {type: local, workdir: /usr}}")
    async with DeploymentManager(DeploymentFile(str(tmp_path / "warmshell.yaml"))) as manager:
        connector = manager.connector("a")
        assert connector.config_dir == str(tmp_path)
        assert (await connector.run("local", ["pwd"], capture_output=True)).text == "/usr\n"
