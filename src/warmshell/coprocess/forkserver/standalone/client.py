"""The program of the client: ``python -I -S client.py LAUNCHER WORD…``."""

from __future__ import annotations

import os
import sys

_package = type(sys)("_warmshell")  # the files beside this one, under a name that nobody else has
_package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
sys.modules["_warmshell"] = _package

from _warmshell.call import main  # type: ignore[import-not-found]  # noqa: E402

main([os.fsencode(word) for word in sys.argv[1:]])
