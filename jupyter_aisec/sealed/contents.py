"""What is sealed: files on disk or bytes in memory, and the refusal of what would not open.

A pickle is a program: opening one runs it, with everything the grant opened at hand. So
weights are kept as safetensors, and a pickle is refused by its content, whatever its name.
"""

from __future__ import annotations

import os
import pickletools
from collections import deque
from collections.abc import Iterator, Mapping, Sized
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol, Union

from jupyter_aisec.errors import PickleRefusedError, UsageError
from jupyter_aisec.sealed.formats import check_format
from jupyter_aisec.sealed.manifest import MAX_FILES

if TYPE_CHECKING:
    from cryptography.utils import Buffer

__all__ = [
    "Content",
    "Sources",
    "as_content",
    "check_count",
    "files_at",
    "is_pickle",
    "refuse_pickle",
]

_CHUNK = 8 << 20
_LOOK = 1 << 16  # bytes looked at, at either end of a file
_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})


class Content(Protocol):
    """A file's plaintext, in pieces."""

    def chunks(self, name: str) -> Iterator[Buffer]:
        """All of it, in order; ``name`` is the file's name in the artifact, for errors.

        A piece may lie where the one before it was: it is used before the next is asked for.
        """
        ...


Source = Union[Content, "Buffer", str, "os.PathLike[str]"]
Sources = Mapping[str, Source]


class _FileContent:
    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def chunks(self, name: str) -> Iterator[Buffer]:
        try:
            with self._path.open("rb") as file:
                head = file.read(_LOOK)
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - _LOOK))
                refuse_pickle(name, head, file.read(_LOOK))
                check_format(name, size, partial(_read, file))
                file.seek(0)
                piece = memoryview(bytearray(_CHUNK))
                while count := file.readinto(piece):
                    yield piece[:count]
        except OSError as error:
            raise UsageError(
                f"{self._path} cannot be read: {error.strerror}.",
                next="Seal a file that you may read, or one less.",
                code="source-unreadable",
            ) from error


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


class _BytesContent:
    def __init__(self, data: Buffer) -> None:
        self._data = data

    def chunks(self, name: str) -> Iterator[Buffer]:
        with memoryview(self._data) as whole, whole.cast("B") as view:
            refuse_pickle(name, bytes(view[:_LOOK]), bytes(view[-_LOOK:]))
            check_format(name, len(view), lambda at, count: bytes(view[at : at + count]))
            yield view


def as_content(source: Source) -> Content:
    """A path or a buffer as :class:`Content`."""
    if isinstance(source, str | os.PathLike):
        return _FileContent(source)
    return _BytesContent(source) if isinstance(source, _BUFFERS) else source


_BUFFERS = (bytes, bytearray, memoryview)


def files_at(path: str | os.PathLike[str]) -> dict[str, Path]:
    """What there is to seal at a path: one file, or all files below a folder, by name.

    Links to files are followed (caches of models are made of them), links to folders are
    not. Raises UsageError if there is nothing, too much, or something that is no file.
    """
    root = Path(path)
    if root.is_dir():
        found = sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names)
        files = {file.relative_to(root).as_posix(): file for file in found}
    else:
        files = {root.name: root}
    for file in files.values():
        if not file.is_file():
            raise UsageError(
                f"{file} is not a file."
                if file.is_symlink() or file.exists()
                else f"There is no {file}.",
                next="Name a file, or a folder with files and nothing else.",
                code="source-not-a-file",
            )
    check_count(files)
    return files


def check_count(sources: Sized) -> None:
    """Raises UsageError unless an artifact can have so many files."""
    if not sources:
        raise UsageError(
            "There is no file to seal.",
            next="Name a file, or a folder with files in it.",
            code="source-empty",
        )
    if len(sources) > MAX_FILES:
        raise UsageError(
            f"There are {len(sources):,} files to seal; an artifact has {MAX_FILES:,} at most.",
            next="Pack them into a few (Parquet, JSON lines), or all into one: "
            "`tar -cf FILE -C SRC .`.",
            code="source-count",
        )


def is_pickle(name: str, head: bytes, tail: bytes) -> bool:
    """Whether a file with this beginning and end is a pickle, or torch's zip with one in it.

    Pickles of protocols 0 and 1 begin like any text: those count only under the suffixes
    that pickles have.
    """
    if head.startswith(b"PK\x03\x04"):
        return b"data.pkl" in head or b"data.pkl" in tail
    marked = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if not marked and PurePosixPath(name).suffix.lower() not in _PICKLE_SUFFIXES:
        return False
    try:
        # A pickle ends with STOP; eight opcodes of one are more than chance makes.
        deque(islice(pickletools.genops(head), 8), maxlen=0)
    except Exception:  # whatever a disassembler says about bytes that are not its own
        return marked and tail.endswith(b".")  # the beginning ends within a long argument
    return True


def refuse_pickle(name: str, head: bytes, tail: bytes) -> None:
    """Raises PickleRefusedError, with the command that converts it."""
    if is_pickle(name, head, tail):
        stem = PurePosixPath(name).stem
        raise PickleRefusedError(
            f"{name} is a pickle, which runs code when it is opened.",
            next="Convert it, then seal that: "
            "`python -c 'import sys, torch, safetensors.torch as s; "
            's.save_file(torch.load(sys.argv[1], map_location="cpu", weights_only=True), '
            f"sys.argv[2])' {name} {stem}.safetensors`.",
        )
