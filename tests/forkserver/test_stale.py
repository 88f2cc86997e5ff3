"""Nothing that the import looked at is ever out of date, and what it did not look at starts no other server."""

from __future__ import annotations

import os
import signal

import pytest

from forkserver.tools import ALL
from warmshell.testing import eventually_sync as eventually


@pytest.fixture
def site(both_clients):
    return both_clients


def test_a_changed_script_module_and_configuration(site):
    (site.where / "module.py").write_text("VALUE = 1\n")
    (site.where / "settings.ini").write_text("one")
    tool = site.tool("import module\nimport reads\nprint(module.VALUE, reads.TEXT, 'first')\n")
    reads = site.where / "reads.py"
    reads.write_text(f"TEXT = open({str(site.where / 'settings.ini')!r}).read()\n")
    assert site.call(tool)[1] == b"1 one first\n"
    (site.where / "settings.ini").write_text("two")
    assert site.call(tool)[1] == b"1 two first\n"
    (site.where / "module.py").write_text("VALUE = 2222\n")
    assert site.call(tool)[1] == b"2222 two first\n"
    tool.write_text(tool.read_text().replace("first", "last"))
    assert site.call(tool)[1] == b"2222 two last\n"
    assert site.call(tool)[1] == b"2222 two last\n"
    assert site.only().calls == 2


def test_a_file_that_appears_where_it_was_looked_for(site):
    tool = site.tool("import looks\nprint(looks.FOUND)\n")
    (site.where / "looks.py").write_text("import os\nFOUND = os.path.exists(os.path.expanduser('~/.toolrc'))\n")
    assert site.call(tool)[1] == b"False\n"
    (site.where / ".toolrc").write_text("x")
    assert site.call(tool)[1] == b"True\n"
    (site.where / ".toolrc").unlink()
    assert site.call(tool)[1] == b"False\n"


@pytest.mark.parametrize("link", [False, True])
def test_a_file_that_appears_beside_modules(site, link):
    package = site.where / "package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nfrom . import other\nPATH = os.path.join(os.path.dirname(__file__), 'settings')\n"
        "TEXT = open(PATH).read() if os.path.exists(PATH) else 'none'\n"
    )
    (package / "other.py").write_text("")
    if link:
        (package / "settings").symlink_to(site.where / "elsewhere")
    tool = site.tool("import package\nprint(package.TEXT)\n")
    for _ in range(2):
        assert site.call(tool)[1] == b"none\n"
    (package / "unrelated").write_text("")
    assert site.call(tool)[1] == b"none\n"
    assert site.only().calls == 3
    (site.where / "elsewhere" if link else package / "settings").write_text("one")
    for _ in range(2):
        assert site.call(tool)[1] == b"one\n"


def test_a_module_that_comes_in_front_of_another(site):
    tool = site.tool("import json\nprint(json.__file__)\n")
    first = site.call(tool)[1]
    (site.where / "json.py").write_text("")
    assert site.call(tool)[1] == f"{site.where}/json.py\n".encode() != first


def test_a_listing(site):
    folder = site.where / "plugins"
    folder.mkdir()
    (site.where / "lists.py").write_text(f"import os\nNAMES = sorted(os.listdir({str(folder)!r}))\n")
    tool = site.tool("import lists\nprint(lists.NAMES)\n")
    assert site.call(tool)[1] == b"[]\n"
    (folder / "a").write_text("")
    assert site.call(tool)[1] == b"['a']\n"


def test_the_directory_if_the_import_looked_at_it(site):
    tool = site.tool("import here\nprint(here.TEXT)\n")
    (site.where / "here.py").write_text("import os\nTEXT = os.path.exists('config') and open('config').read()\n")
    for name in ("a", "b"):
        (site.where / name).mkdir()
        (site.where / name / "config").write_text(name)
    for name in ("a", "b", "a"):
        assert site.call(tool, cwd=site.where / name)[1] == f"{name}\n".encode()
    assert site.call(tool)[1] == b"False\n"
    assert sorted(info.calls for info in site.servers()) == [1, 1, 2]


def test_variables_that_the_import_read_even_of_shells(site):
    tool = site.tool("import reads\nprint(reads.SEEN)\n")
    (site.where / "reads.py").write_text("import os\nSEEN = os.environ.get('OLDPWD'), os.environ.get('CONFIG')\n")
    for old, config in (("x", "1"), ("y", "1"), ("x", "2"), ("x", "1")):
        out = site.call(tool, env={**site.env, "OLDPWD": old, "CONFIG": config})[1]
        assert out == f"{(old, config)}\n".encode()
    assert len(site.servers()) == 3


def test_narrow_keys_let_callers_share_that_differ_in_nothing_that_matters(site):
    tool = site.tool("import reads\nimport os\nprint(reads.SEEN, os.environ.get('OTHER'))\n")
    (site.where / "reads.py").write_text("import os\nSEEN = os.environ.get('CONFIG')\n")
    for config, other in (("1", "a"), ("1", "b"), ("2", "b"), ("1", "c")):
        out = site.call(tool, env={**site.env, "CONFIG": config, "OTHER": other}, options="level=fork narrow=1")[1]
        assert out == f"{config} {other}\n".encode()
    assert sorted(info.calls for info in site.servers()) == [1, 3]


def test_no_narrow_key_where_it_cannot_be_proved(site):
    (site.where / "reads.py").write_text("import os\nSEEN = dict(os.environ)\n")
    tool = site.tool("import reads\nprint(reads.SEEN['OTHER'])\n")
    for other in ("a", "b"):
        env = {**site.env, "OTHER": other}
        assert site.call(tool, env=env, options="level=fork narrow=1")[1] == f"{other}\n".encode()
    assert len(site.servers()) == 2


def test_what_writes_into_the_directory_of_the_script_restarts_nothing(site):
    tool = site.tool(
        "import json, os\nopen('out', 'w').write('x')\nos.remove('out')\nopen(f'{os.getpid()}.log', 'w')\n"
    )
    for _ in range(3):
        assert site.call(tool)[0] == 0
    assert site.only().calls == 3


def test_the_configuration_of_a_real_tool(site):
    ansible = next(tool for tool in ALL if tool.name == "ansible")
    if ansible.missing:
        pytest.skip("ansible is not installed: make tools")
    options = {"options": "level=fork"}

    def agree(found: str, **env: str) -> None:
        site.env.update(env)
        cold = site.cold(ansible.path, "--version")
        assert f"config file = {found}".encode() in cold[1]
        assert site.call(ansible.path, "--version", **options) == cold

    agree("None")
    (site.where / "ansible.cfg").write_text("[defaults]\n")
    agree(str(site.where / "ansible.cfg"))
    (site.where / "other.cfg").write_text("[defaults]\n")
    agree(str(site.where / "other.cfg"), ANSIBLE_CONFIG=str(site.where / "other.cfg"))


RECOGNISED = {
    "starts threads": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "starts a program": "import subprocess; subprocess.run(['true'])",
    "forks": "import os\npid = os.fork()\nif not pid: os._exit(0)\nos.waitpid(pid, 0)",
    "writes its output": "print('at import', flush=True)",
    "writes without a flush": "import sys; sys.stderr.write('at import')",
    "reads its input": "import sys; sys.stdin.readline()",
    "writes a file": "import os; open(os.path.expanduser('~/log'), 'w').write('x')",
    "removes a file": "import contextlib, os\nwith contextlib.suppress(OSError): os.remove('/nonesuch')",
    "keeps a socket": "import socket; KEPT = socket.socket()",
    "keeps a pipe": "import os; KEPT = os.pipe()",
    "changes the directory": "import os; os.chdir('/')",
    "sets a timer": "import signal; signal.alarm(1000)",
    "replaces its output": "import sys, io; sys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'latin-1')",
    "fails": "raise RuntimeError('no')",
    "exits": "import sys; sys.exit(3)",
    "exits hard": "import os; os._exit(4)",
    "a database": "import sqlite3; sqlite3.connect(':memory:')",
}


@pytest.mark.parametrize("what", RECOGNISED)
def test_what_cannot_be_served_runs_cold(site, what):
    (site.where / "module.py").write_text(RECOGNISED[what] + "\n")
    tool = site.tool("import sys\nimport module\nprint('ran', sys.argv[1:])\nsys.stdout.flush()\n")
    cold = site.cold(tool, "x")
    for _ in range(2):
        assert site.call(tool, "x") == cold
    assert not site.servers()


def test_a_server_that_needs_too_much_memory(site):
    (site.where / "module.py").write_text("KEPT = bytearray(64 << 20)\n")
    tool = site.tool("import module\nprint(len(module.KEPT))\n")
    assert site.call(tool, options="level=fork memory=40") == (0, b"67108864\n", b"")
    assert not site.servers()
    assert site.call(tool, options="level=fork memory=200") == (0, b"67108864\n", b"")
    assert site.only().calls == 1


def test_temporary_files_of_the_import_belong_to_the_server(site):
    (site.where / "module.py").write_text(
        "import atexit, shutil, tempfile\nKEPT = tempfile.mkdtemp()\natexit.register(shutil.rmtree, KEPT)\n"
    )
    tool = site.tool("import module, os\nprint(module.KEPT, os.path.isdir(module.KEPT))\n")
    found = {site.call(tool)[1] for _ in range(3)}
    (line,) = found
    folder, there = line.split()
    assert there == b"True"
    os.kill(site.only().pid, signal.SIGTERM)
    eventually(lambda: not os.path.exists(folder))


def test_a_file_that_the_import_left_open_has_an_offset_for_each_call(site):
    (site.where / "data").write_text("0123456789")
    (site.where / "module.py").write_text(f"KEPT = open({str(site.where / 'data')!r}, 'rb', 0)\nKEPT.read(2)\n")
    tool = site.tool("import module\nprint(module.KEPT.read(3), module.KEPT.tell())\n")
    for _ in range(3):
        assert site.call(tool)[1] == b"b'234' 5\n"


def test_it_ends_when_nobody_calls(site):
    tool = site.tool("import json\n")
    site.call(tool, options="level=fork idle=0.2")
    eventually(lambda: not site.all_pids())
    assert not [name for name in os.listdir(site.home) if name.endswith((".sock", ".lock"))]


def test_random_numbers_and_times_are_fresh(site):
    tool = site.tool("import random, logging, uuid\nprint(random.random(), uuid.uuid4(), logging._startTime)\n")
    assert len({site.call(tool)[1] for _ in range(4)}) == 4
    assert site.only().calls == 4


def test_so_many_servers_and_no_more(site):
    tool = site.tool("import os\nprint(os.environ['N'])\n")
    for number in range(36):
        assert site.call(tool, env={**site.env, "N": str(number)})[1] == f"{number}\n".encode()
    eventually(lambda: len(site.servers()) <= 32, within=20)
    assert site.call(tool, env={**site.env, "N": "35"})[0] == 0
    assert any(info.calls == 2 for info in site.servers())
