"""The script that keeps files and functions short must be able to complain."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("limits", Path(__file__).with_name("limits.py"))
limits = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(limits)


def function(name: str, lines: int) -> str:
    return f"def {name}():\n" + "    x = 1\n" * (lines - 1)


def test_short_files_and_functions_pass(tmp_path):
    path = tmp_path / "short.py"
    path.write_text(function("a", 25) + function("b", 40) + function("c", 2) * 9)
    assert limits.complaints([path]) == []


def test_a_long_function_is_named(tmp_path):
    path = tmp_path / "long.py"
    path.write_text("x = 1\n" + function("far", 41) + function("c", 2) * 9)
    assert limits.complaints([path]) == [f"{path}:2: far has 41 lines; 40 is the most"]


def test_a_long_file_is_named(tmp_path):
    path = tmp_path / "long.py"
    path.write_text("x = 1\n" * 501)
    assert limits.complaints([path]) == [f"{path}: 501 lines; 500 is the most"]


def test_many_longish_functions_are_too_many(tmp_path):
    path = tmp_path / "longish.py"
    path.write_text(function("a", 26) * 2 + function("c", 2) * 8)
    assert limits.complaints([path]) == ["one function in ten has 26 lines or more; 25 is the most"]


def test_the_project_is_measured():
    assert len(list(limits.functions(Path(limits.__file__)))) == 3
