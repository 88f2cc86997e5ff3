"""Tables of measurements within texts: between two marks, renewed by the run that measures them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bench.report import table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.model import Report

_EXCERPT = re.compile(r"(?P<begin><!-- measured: (?P<case>[\w-]+) -->\n).*?(?P<end><!-- measured: end -->)", re.DOTALL)


def renewed(text: str, reports: Iterable[Report]) -> str:
    """The text with the tables of these cases where it has marks for them, ``<!-- measured: CASE -->``."""
    tables = {report.name: table(report) for report in reports}

    def replace(found: re.Match[str]) -> str:
        fresh = tables.get(found["case"])
        return found[0] if fresh is None else f"{found['begin']}{fresh}\n{found['end']}"

    return _EXCERPT.sub(replace, text)
