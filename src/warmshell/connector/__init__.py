"""How to reach a place: one file a backend, and the registry that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from warmshell.connector.registry import is_url, parse
from warmshell.location import Location
from warmshell.shell.shells import Limits

if TYPE_CHECKING:
    from warmshell.connector.place import Place


def connect(where: str = "local:", **options: Any) -> Location:
    """A location, warm, as an asynchronous context manager.

    Args:
        where: a URL (``local:``); every option may be given as a query key (``local:?shell=bash&shells=4``). Or the
            name of a deployment of a deployment file, ``NAME`` or ``NAME/LOCATION``.
        **options: ``shells`` (how many warm shells at most, 32), ``idle`` (seconds until an idle shell is let go, 60),
            ``age`` (seconds after which a shell is replaced, 3600), ``shell`` (which: ``sh``), ``name`` (what results
            and errors call it, and a pool knows it by: two of one machine need two), and those of its kind:
            ``framing`` (``auto``, ``pipes``, ``markers``), ``cwd``. With a name, ``file``: the deployment file; the one
            that ``$WARMSHELL_FILE`` names, or ``warmshell.yaml``, by default.

    Raises:
        LocationError: the URL names no known kind of location, or an option is unknown or has a bad value.
    """
    place: Place
    file = options.pop("file", None)
    if file is not None or not is_url(where):
        from warmshell.deployment.names import named

        place, rest = named(where, options, file)
    else:
        place, rest = parse(where, options)
    place.address = where, options
    place.name = rest.get("name", place.name)
    names = {"shells": "most", "idle": "idle_seconds", "age": "age_seconds"}
    limits = Limits(**{field: rest[name] for name, field in names.items() if name in rest})
    return Location(place, shell=rest.get("shell", "sh"), limits=limits)


__all__ = ["Place", "connect"]
