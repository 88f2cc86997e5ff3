"""Archives where there is no ``tar`` program: a whole program of its own, sent as one word of a command line.

``python3 -c TEXT create pax|gnu [follow] -- NAME…`` writes an archive to standard output;
``python3 -c TEXT extract [owner] -- DIRECTORY`` extracts one from standard input, which has been vetted already.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tarfile

_PIECE = 1024 * 1024


def create(kind: str, follow: bool, names: list[str]) -> None:
    """Write an archive of the names."""
    form = tarfile.PAX_FORMAT if kind == "pax" else tarfile.GNU_FORMAT
    with tarfile.open(
        fileobj=sys.stdout.buffer, mode="w|", format=form, dereference=follow, bufsize=_PIECE,
        encoding="utf-8", errors="surrogateescape",
    ) as archive:  # fmt: skip
        for name in names:
            archive.add(name, filter=lambda info: _member(info, follow and kind == "pax", kind == "pax"))


def _member(info: tarfile.TarInfo, follow: bool, exact: bool) -> tarfile.TarInfo | None:
    if exact:  # tarfile's own times are floating point numbers
        nanoseconds = os.stat(info.name or ".", follow_symlinks=follow).st_mtime_ns
        info.pax_headers = {**info.pax_headers, "mtime": f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"}
    if info.issym() or info.islnk() or info.isdir() or info.isreg() or info.isfifo():
        return info
    sys.stderr.write(f"left out, as it is neither a file nor a link: {info.name!a}\n")
    return None


def extract(directory: str, owner: bool) -> None:
    """Extract an archive; directories get their modes and times when all is in them."""
    later = []
    with tarfile.open(
        fileobj=sys.stdin.buffer, mode="r|", bufsize=_PIECE, encoding="utf-8", errors="surrogateescape", errorlevel=1
    ) as archive:
        for info in archive:
            path = os.path.join(directory, info.name)
            _one(archive, info, path, directory)
            if owner and hasattr(os, "geteuid") and os.geteuid() == 0:
                archive.chown(info, path, numeric_owner=False)
            if info.isdir():
                later.append((path, info))
            else:
                _finish(path, info)
    for path, info in reversed(later):
        _finish(path, info)


def _one(archive: tarfile.TarFile, info: tarfile.TarInfo, path: str, directory: str) -> None:
    if info.isdir():
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
    elif info.issym():
        os.symlink(info.linkname, path)
    elif info.islnk():
        os.link(os.path.join(directory, info.linkname), path, follow_symlinks=False)
    elif info.isfifo():
        os.mkfifo(path, 0o600)
    elif info.sparse is not None:
        archive.makefile(info, path)
    else:
        source = archive.extractfile(info)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as target:
            if source is not None:
                shutil.copyfileobj(source, target, _PIECE)
        if os.path.getsize(path) != info.size:
            raise EOFError("the archive is cut short")


def _finish(path: str, info: tarfile.TarInfo) -> None:
    """Mode and times; a hard link has those of its file."""
    if info.islnk():
        return
    if not info.issym():
        os.chmod(path, stat.S_IMODE(info.mode))
    when = info.pax_headers.get("mtime")
    seconds, _, part = (when or str(int(info.mtime))).partition(".")
    nanoseconds = int(seconds) * 10**9 + (-1 if seconds.startswith("-") else 1) * int((part + "0" * 9)[:9])
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def main(words: list[str]) -> int:
    """The program."""
    cut = words.index("--")
    options, names = words[:cut], words[cut + 1 :]
    try:
        if options[0] == "create":
            create(options[1], "follow" in options, names)
        else:
            extract(names[0], "owner" in options)
    except (OSError, EOFError, tarfile.TarError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
