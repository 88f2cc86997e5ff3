"""Captured output with a bound on memory: what exceeds it goes to an unnamed temporary file."""

from __future__ import annotations

from warmshell.command import Output, SpillFile
from warmshell.errors import OutputError


class Capture:
    """Collects the bytes of one stream.

    Args:
        limit: bytes kept in memory; beyond it everything goes to the file.
    """

    __slots__ = ("_chunks", "_failed", "_file", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._size = 0
        self._file: SpillFile | None = None
        self._failed = False

    def feed(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            OutputError: the temporary file cannot be written (a full disk).
        """
        if self._failed:
            return
        self._size += len(data)
        if self._file is None and self._size <= self._limit:
            self._chunks.append(data)
            return
        try:
            self._spill(data)
        except OSError as error:
            self._give_up()
            raise OutputError(
                f"captured output could not be kept beyond {self._limit:,} bytes in memory: {error.strerror}",
                hint="free space for temporary files, point TMPDIR elsewhere, or raise output_limit",
            ) from error

    def _spill(self, data: bytes) -> None:
        if self._file is None:
            self._file = SpillFile()
            for chunk in self._chunks:
                self._file.write(chunk)
            self._chunks.clear()
        self._file.write(data)

    def _give_up(self) -> None:
        """Free what is taken at once: whoever keeps the error keeps this too, and the disk is full."""
        self._failed = True
        if self._file is not None:
            self._file.close()
            self._file = None
        self._chunks.clear()

    def value(self) -> bytes | Output:
        """What was collected: bytes, or an :class:`~warmshell.Output` over the file."""
        if self._file is not None:
            return Output(self._file)
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
