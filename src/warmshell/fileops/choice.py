"""Which file operations a location has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmshell.fileops.base import FileOperations
    from warmshell.location import Location


def files_of(location: Location) -> FileOperations:
    """Requests where something answers them, else scripts."""
    ask = location.place.asking()
    if ask is None:
        from warmshell.fileops.scripted import ScriptedFiles

        return ScriptedFiles(location)
    from warmshell.fileops.asked import AskedFiles

    return AskedFiles(ask, location.name)
