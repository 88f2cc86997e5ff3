"""The tool's script: what it imports first, and the code that every call runs from its beginning."""

from __future__ import annotations

import ast
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any


# By the name that is imported already: importlib.machinery would be executed by every call.
_LOADER: Any = sys.modules["_frozen_importlib_external"].SourceFileLoader


class Script:
    """A script as ``python SCRIPT`` reads it.

    Args:
        path: its name.

    Attributes:
        path: the name that it runs under.
        code: all of it, compiled.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, "rb") as file:
            source = file.read()
        self._tree = ast.parse(source, path)
        self.code: CodeType = compile(source, path, "exec", dont_inherit=True)

    def import_first(self) -> None:
        """Import what it imports before it does anything else.

        Names of modules are all that stays: each call executes the whole script, and finds them imported. The first
        statement that could do more than import is where it ends.

        Raises:
            Exception: whatever an import raises.
        """
        space: dict[str, Any] = {"__name__": "__warmshell__", "__file__": self.path, "__builtins__": __builtins__}
        for statement in self._tree.body:
            if _is_guard(statement) or not _only_imports(statement):
                break
            module = ast.Module([statement], [])
            exec(compile(module, self.path, "exec", dont_inherit=True), space)  # noqa: S102 - the tool's own

    def fresh_main(self) -> dict[str, Any]:
        """The module ``__main__`` as it is when a script begins."""
        space = sys.modules["__main__"].__dict__
        space.clear()
        space.update(
            __name__="__main__", __doc__=None, __package__=None, __spec__=None, __annotations__={},
            __loader__=_LOADER("__main__", self.path), __builtins__=sys.modules["builtins"],
            __file__=self.path, __cached__=None,
        )  # fmt: skip
        return space


def directory_of(path: str) -> str:
    """What a script has in front of ``sys.path``."""
    return os.path.dirname(os.path.realpath(path))


def _is_guard(statement: ast.stmt) -> bool:
    """``if __name__ == ...``."""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def _only_imports(statement: ast.stmt) -> bool:
    """Whether a statement imports, defines or sets something, and certainly does nothing else."""
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef)):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Assign):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.If):
        return all(_only_imports(inner) for inner in [*statement.body, *statement.orelse])
    return False
