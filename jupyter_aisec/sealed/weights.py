"""Weights: tensors of sealed safetensors files, straight into their final memory, and back.

Loading decrypts each tensor into the buffer that it keeps; a segment in which tensors meet
is decrypted once beside them. Sealing writes the header and then each tensor's bytes into
the sealed stream: no plaintext file is made in either direction.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import MalformedError, UsageError
from jupyter_aisec.sealed.contents import refuse_pickle
from jupyter_aisec.sealed.safetensors_header import (
    Header,
    TensorEntry,
    header_length,
    parse_header,
    write_header,
)

if TYPE_CHECKING:
    import torch
    from cryptography.utils import Buffer

    from jupyter_aisec.sealed.artifact import OpenArtifact
    from jupyter_aisec.sealed.reader import Progress, SealReader

__all__ = ["LazyWeights", "StateDictContent", "load_weights"]

_LOOK = 1 << 16
_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
_NAMES = {f"torch.{name}": dtype for dtype, name in _DTYPES.items()}


class LazyWeights(Mapping[str, "torch.Tensor"]):
    """The tensors of an artifact's safetensors files, each loaded when it is asked for.

    Headers are read at once, tensors never twice for one request, and nothing is kept:
    asking again loads again. Names that ``safetensors.torch.save_model`` left out because
    they share a tensor are there again.
    """

    def __init__(self, artifact: OpenArtifact, device: str | torch.device = "cpu") -> None:
        """Raises PickleRefusedError, MalformedError, or UsageError if there are no weights."""
        self._artifact = artifact
        self._device = device
        self._readers: list[tuple[SealReader, Header]] = []
        self._places: dict[str, tuple[int, TensorEntry]] = {}
        self._aliases: dict[str, str] = {}
        for name in artifact.names:
            if PurePosixPath(name).suffix.lower() == ".safetensors":
                self._add(name, artifact.reader(name))
        if not self._readers:
            for name in artifact.names:
                reader = artifact.reader(name)
                look = min(_LOOK, reader.size)
                refuse_pickle(
                    name,
                    bytes(reader.read(0, look)),
                    bytes(reader.read(reader.size - look, look)),
                )
            raise UsageError(
                f"{artifact.manifest.artifact} has no safetensors file.",
                next=f"Open its files instead: {', '.join(artifact.names[:4])}.",
                code="no-weights",
            )
        for alias, name in self._metadata():
            if alias not in self._places and name in self._places:
                self._aliases[alias] = name

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(entry.size for _, entry in self._places.values())

    def __getitem__(self, name: str) -> torch.Tensor:
        target = self._aliases.get(name, name)
        if target not in self._places:
            raise KeyError(name)
        return self._load({target: self._places[target]}, None)[target]

    def __iter__(self) -> Iterator[str]:
        yield from self._places
        yield from self._aliases

    def __len__(self) -> int:
        return len(self._places) + len(self._aliases)

    def load(self, progress: Progress | None = None) -> dict[str, torch.Tensor]:
        """All tensors; ``progress`` gets bytes read. Aliases are the same tensor twice."""
        tensors = self._load(self._places, progress)
        return tensors | {alias: tensors[name] for alias, name in self._aliases.items()}

    def _add(self, name: str, reader: SealReader) -> None:
        if reader.size >= 8:
            look = bytes(reader.read(0, min(_LOOK, reader.size)))
            refuse_pickle(name, look, b"")
        field = bytes(reader.read(0, min(8, reader.size)))
        length = header_length(field, reader.size, name)
        header = parse_header(field, bytes(reader.read(8, length)), reader.size, name)
        for tensor, entry in header.tensors.items():
            if tensor in self._places:
                raise MalformedError(
                    f"{self._artifact.manifest.artifact} has the tensor {tensor[:80]!r} twice.",
                    next="Seal the shards of one model only.",
                    code="tensor-twice",
                )
            self._places[tensor] = (len(self._readers), entry)
        self._readers.append((reader, header))

    def _metadata(self) -> Iterator[tuple[str, str]]:
        for _, header in self._readers:
            yield from header.metadata.items()

    def _load(
        self, places: Mapping[str, tuple[int, TensorEntry]], progress: Progress | None
    ) -> dict[str, torch.Tensor]:
        import torch

        memory = self._artifact.memory
        tensors: dict[str, torch.Tensor] = {}
        targets: list[list[tuple[int, memoryview]]] = [[] for _ in self._readers]
        for name, (number, entry) in places.items():
            dtype = getattr(torch, _DTYPES[entry.dtype])
            if not entry.size:
                tensors[name] = torch.empty(entry.shape, dtype=dtype)
                continue
            block = memory.allocate(entry.size)
            tensors[name] = torch.frombuffer(block, dtype=dtype).view(entry.shape)
            start = self._readers[number][1].data_start + entry.data_offsets[0]
            targets[number].append((start, memoryview(block)))
        for (reader, _), wanted in zip(self._readers, targets, strict=True):
            reader.read_many(wanted, progress)
        memory.check()
        if torch.device(self._device).type == "cpu":
            return tensors
        for name in tensors:
            tensors[name] = tensors[name].to(self._device)
            memory.track(tensors[name])
        return tensors


def load_weights(
    artifact: OpenArtifact,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """All tensors of an artifact as a state_dict on ``device``.

    Their memory belongs to ``artifact.memory`` and is wiped with it.
    """
    return LazyWeights(artifact, device).load(progress)


class StateDictContent:
    """A state_dict as the content of a safetensors file, straight from memory.

    Tensors that share all of their memory are written once, under the first name; the
    others are named in the metadata, as ``safetensors.torch.save_model`` does it. Tensors
    that share a part are written each. One tensor at a time is copied to the CPU, if it
    lies elsewhere or is not contiguous.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Raises UsageError, naming the entry, for what safetensors cannot hold."""
        kept: dict[Any, str] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        self._metadata = {"format": "pt", **(metadata or {})}
        self._shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        for name, tensor in sorted(tensors.items()):
            _check_tensor(name, tensor)
            same = (
                tensor.device,
                tensor.data_ptr(),
                tensor.dtype,
                tensor.shape,
                tensor.stride(),
                tensor.is_conj(),
                tensor.is_neg(),
            )
            if tensor.numel() and (first := kept.setdefault(same, name)) != name:
                self._metadata[name] = first
                continue
            self._tensors[name] = tensor
            self._shapes[name] = (_NAMES[str(tensor.dtype)], tuple(tensor.shape))

    def chunks(self, name: str) -> Iterator[Buffer]:
        head, order = write_header(self._shapes, self._metadata)
        yield head
        for tensor_name in order:
            tensor = self._tensors[tensor_name].detach()
            flat = tensor.resolve_conj().resolve_neg().cpu().contiguous()
            size = flat.numel() * flat.element_size()
            # Through the address: numpy, torch's own way to a buffer, knows no bfloat16.
            yield memoryview((ctypes.c_ubyte * size).from_address(flat.data_ptr())).cast("B")


def _check_tensor(name: str, tensor: Any) -> None:
    import torch

    why = None
    if not isinstance(tensor, torch.Tensor):
        why = f"is a {type(tensor).__name__}, not a tensor"
    elif tensor.layout != torch.strided or tensor.is_quantized:
        why = "is sparse or quantized"
    elif tensor.device.type == "meta":
        why = "has no content (it is on the meta device)"
    elif str(tensor.dtype) not in _NAMES:
        why = f"is of the type {tensor.dtype}, which safetensors does not have"
    if why:
        raise UsageError(
            f"{name[:120]!r} {why}: it cannot be sealed as weights.",
            next="Seal model.state_dict(), or leave that entry out.",
            code="tensor-unsupported",
        )
