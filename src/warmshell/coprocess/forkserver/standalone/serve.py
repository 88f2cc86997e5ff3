"""The program of a server: ``PYTHON serve.py name=value…``, in the tool's own interpreter."""

from __future__ import annotations

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
if _here not in sys.path:
    sys.path.insert(0, _here)  # where the interpreter leaves the script's directory out; taken away again
_package = type(sys)("_warmshell")  # the files beside this one, under a name that nobody else has
_package.__path__ = [_here]
sys.modules["_warmshell"] = _package

from _warmshell.main import main  # type: ignore[import-not-found]  # noqa: E402

main(dict(os.fsencode(word).partition(b"=")[::2] for word in sys.argv[1:]))
