"""Any text file, or the source of Python's standard library, which every machine has."""

import os
import platform
import sysconfig
from pathlib import Path
from typing import Literal

from datamodules.characters import CharacterDataModule
from zoo.errors import DataError

_LIBRARY_CHARACTERS = 1_000_000
_NO_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


class CharText(CharacterDataModule):
    """A text of your own, or, without a file, the source of Python's standard library: nothing to download.

    The latter is the files of the interpreter's library in the order of their names, without tests and those with
    characters beyond ASCII. It differs from one Python version to the next, so scores do too; the SHA-256 of what was
    read is printed, and the checkpoint keeps it.

    Source: your file, or the standard library of CPython (the Python Software Foundation's licence).

    Args:
        file: UTF-8 text; None is the standard library.
        limit: how many characters to read; None is all of a file, and a million of the standard library.
        batch_size, window, mode, val_fraction, unknown_token, eval_batch_size, drop_last: see CharacterDataModule.
    """

    def __init__(
        self,
        file: str | None = None,
        limit: int | None = None,
        batch_size: int = 64,
        window: int = 128,
        mode: Literal["shuffle", "streams"] = "shuffle",
        val_fraction: float = 0.1,
        unknown_token: bool = False,
        eval_batch_size: int = 64,
        drop_last: bool = False,
    ) -> None:
        super().__init__(batch_size, window, mode, val_fraction, unknown_token, eval_batch_size, drop_last)
        if limit is not None and limit < 1:
            raise DataError(f"limit must be at least 1, got {limit}")
        self.file, self.limit = Path(file).expanduser() if file else None, limit

    def read(self) -> tuple[str, str]:
        if self.file is None:
            text = standard_library(self.limit or _LIBRARY_CHARACTERS)
            return text, f"the standard library of Python {platform.python_version()} (other versions differ)"
        return read_text(self.file)[: self.limit], str(self.file)


def read_text(file: Path) -> str:
    """The text of a file as it is, line ends included.

    Raises:
        DataError: no such file, nothing in it, or not UTF-8.
    """
    if not file.is_file():
        raise DataError(f"no file {file}; give the path of a text file")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    if not text:
        raise DataError(f"{file} is empty")
    return text


def standard_library(limit: int) -> str:
    """The first ``limit`` characters of the interpreter's library, file by file in the order of their names."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _NO_LIBRARY]  # os.walk goes into those that are left
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            files[path.relative_to(root).as_posix()] = path
    parts, size = [], 0
    for _, file in sorted(files.items()):
        if size >= limit:
            break
        source = file.read_bytes()
        if source.isascii():
            parts.append(source.decode().replace("\r\n", "\n"))
            size += len(parts[-1])
    return "".join(parts)[:limit]
