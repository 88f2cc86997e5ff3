"""Paths of other machines, with the names that ``pathlib`` has taught everybody."""

from warmshell.path.file import RemoteFile
from warmshell.path.remote import Paths, RemotePath

__all__ = ["Paths", "RemoteFile", "RemotePath"]
