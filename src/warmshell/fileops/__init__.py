"""Operations on the files of a location, each in one round trip, whatever runs there."""

from warmshell.fileops.base import Entry, Facts, FileOperations, Listing, Space
from warmshell.fileops.errors import FileError

__all__ = ["Entry", "Facts", "FileError", "FileOperations", "Listing", "Space"]
