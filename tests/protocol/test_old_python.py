"""What is shipped to other hosts compiles for Python 3.8 and uses nothing that came later.

There is no Python 3.8 here: its grammar is asked for, and names that came later are looked for.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import warmshell

SOURCE = Path(warmshell.__file__).parent
SHIPPED = sorted(
    path
    for names in (
        "protocol/*.py",
        "server/*.py",
        "guardian/tree.py",
        "guardian/processes.py",
        "coprocess/forkserver/standalone/*.py",
    )
    for path in SOURCE.glob(names)
    if path.name != "pack.py"  # which packs them, here
)
LATER_MODULES = {"tomllib", "graphlib", "zoneinfo", "typing_extensions", "annotationlib", "compression"}
# Attributes and functions since 3.9, 3.10, 3.11 …; those that a file asks for with hasattr are its own affair.
LATER_NAMES = {
    "removeprefix", "removesuffix", "bit_count", "pidfd_open", "pidfd_send_signal", "randbytes", "cache",
    "to_thread", "lcm", "nextafter", "ulp", "is_relative_to", "hardlink_to", "aclosing",
    "pairwise", "batched", "TaskGroup", "Runner", "aiter", "anext", "ExceptionGroup", "BaseExceptionGroup",
    "EncodingWarning", "add_note", "Self", "StrEnum", "UTC", "waitstatus_to_exitcode", "copy_file_range", "eventfd",
    "splice", "orig_argv", "stdlib_module_names", "file_digest", "ParamSpec", "TypeAlias", "process_cpu_count",
    "walk_up", "setns", "unshare", "posix_openpt",
}  # fmt: skip
LATER_WORDS = {
    ("zip", "strict"),
    ("int", "signed"),
    ("dataclass", "slots"),
    ("dataclass", "kw_only"),
    ("run", "process_group"),
}
GENERIC_SINCE_39 = {"list", "dict", "tuple", "set", "frozenset", "type"}

every_file = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path), feature_version=(3, 8))


def is_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def run_time(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are evaluated: no annotations, nothing under TYPE_CHECKING."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or (field == "body" and is_checking(node)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from run_time(child)


def asked_for(module: ast.Module) -> set[str]:
    """Names that the file asks for with hasattr or getattr, or whose absence it catches, before it uses them."""
    names = {
        node.args[1].value
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr")
        if isinstance(node.args[1], ast.Constant)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Try) and "AttributeError" in ast.dump(ast.Module(node.handlers, [])):
            names |= {inner.attr for part in node.body for inner in ast.walk(part) if isinstance(inner, ast.Attribute)}
    return names


def complaints(module: ast.Module) -> list[str]:
    found = []
    known = asked_for(module)
    for node in run_time(module):
        name = getattr(node, "attr", getattr(node, "id", None))
        if isinstance(node, (ast.Attribute, ast.Name)) and name in LATER_NAMES - known:
            found.append(f"line {node.lineno}: {name}")
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", None) in GENERIC_SINCE_39:
            found.append(f"line {node.lineno}: {ast.unparse(node)} at run time")
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found += [
                f"line {node.lineno}: {called}({word.arg}=)"
                for word in node.keywords
                if (called, word.arg) in LATER_WORDS
            ]
    return found


def imports(module: ast.Module) -> Iterator[str]:
    for node in run_time(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else (node.module or "").split(".")[0]


def test_there_are_files_to_look_at():
    assert len(SHIPPED) >= 9
    assert {path.name for path in SHIPPED} >= {"request.py", "state.py", "tree.py", "processes.py"}


@every_file
def test_it_compiles(path):
    compile(tree(path), str(path), "exec")


@every_file
def test_annotations_are_not_evaluated(path):
    module = tree(path)
    future = [node for node in module.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    only_words = all(isinstance(node, ast.Expr) for node in module.body)
    assert only_words or "annotations" in [alias.name for node in future for alias in node.names]


@every_file
def test_it_imports_only_the_standard_library_and_its_own_package(path):
    own = {".", "warmshell", "_warmshell"}
    for name in imports(tree(path)):
        assert name in own or name in sys.stdlib_module_names, name
        assert name not in LATER_MODULES


@every_file
def test_it_imports_nothing_of_the_package_but_what_is_shipped_with_it(path):
    for node in run_time(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            if not node.level and node.module.split(".")[0] == "warmshell":
                assert node.module.split(".")[1] in ("protocol", "guardian", "server"), node.module


@every_file
def test_it_uses_no_later_names(path):
    assert complaints(tree(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "'a'.removeprefix('b')",
        "x: int = list[int]()",
        "import os\nos.pidfd_open(1)",
        "zip(a, b, strict=True)",
        "T = set[int]",
    ],
)
def test_what_came_later_is_found(text):
    assert complaints(ast.parse(text))


@pytest.mark.parametrize("text", ["match x:\n  case 1: pass", "try: pass\nexcept* OSError: pass"])
def test_later_grammar_is_found(text):
    with pytest.raises(SyntaxError):
        ast.parse(text, feature_version=(3, 8))


def test_what_is_only_annotated_is_not():
    text = "if TYPE_CHECKING:\n  T = list[int]\ndef f(x: list[int] | None) -> dict[str, int]: return {}"
    assert not complaints(ast.parse(text))
