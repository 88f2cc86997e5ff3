"""From ``apptainer:///IMAGE`` or ``apptainer://INSTANCE`` (``singularity:`` likewise) and options to a place."""

from __future__ import annotations

import shutil
from typing import Any
from urllib.parse import unquote, urlsplit

from warmshell.connector.singularity_words import InstanceOptions, exec_wrap
from warmshell.connector.wrapped import CONNECT_TIMEOUT, Here, WrappedPlace
from warmshell.errors import LocationError

FLAGS = ("cleanenv", "contain", "containall", "fakeroot", "nv", "rocm", "writable", "writableTmpfs")
"""Options that are true or false."""
_OTHER = {"singularity": "apptainer", "apptainer": "singularity"}


def make(url: str, options: dict[str, Any]) -> WrappedPlace:
    """The place inside of an image, or of a running instance.

    Raises:
        LocationError: the URL names neither.
    """
    scheme, _, rest = url.partition(":")
    name = unquote(rest.removeprefix("//"))
    running = "/" not in name.rstrip("/")
    name = name.rstrip("/") if running else name
    if not name or name.startswith("-") or not (running or name.startswith("/")) or urlsplit(url).query:
        hint = f"write {scheme}:///PATH/OF/IMAGE, or {scheme}://INSTANCE for one that runs"
        raise LocationError(f"neither an image nor an instance in {url!r}", hint=hint)
    given = {key: options[key] for key in FLAGS if key in options}
    if running and given:
        raise LocationError(f"{scheme}: an instance that runs has its options already", hint="leave out " + min(given))
    inside = InstanceOptions(bind=_several(options.get("bind")), home=options.get("home"), **given)
    program = scheme if shutil.which(scheme) or not shutil.which(_OTHER[scheme]) else _OTHER[scheme]
    wrap = exec_wrap(
        inside, options.get("program", program), f"instance://{name}" if running else name, running=running
    )
    return WrappedPlace(
        name, Here(), wrap, shell=options["shell"], server=options.get("server", True), cwd=options.get("cwd"),
        connect_timeout=options.get("connectTimeout", CONNECT_TIMEOUT),
    )  # fmt: skip


def _several(binds: object) -> list[str] | None:
    if binds is None:
        return None
    return binds.split(",") if isinstance(binds, str) else [str(bind) for bind in binds]  # type: ignore[attr-defined]
