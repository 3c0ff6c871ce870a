"""How a value is sealed, by what it is; a library is looked at only where the value is its own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import UsageError
from jupyter_aisec.sealed.contents import Sources, files_at
from jupyter_aisec.sealed.weights import StateDictContent

if TYPE_CHECKING:
    from jupyter_aisec.sealed.manifest import MediaType

__all__ = ["sources_of"]


def sources_of(value: Any) -> tuple[Sources, MediaType]:
    """The files that ``value`` is sealed as, and of which media they are.

    Tensors become safetensors and tables Parquet; they open as what they were. Everything
    else opens as bytes: text as UTF-8, arrays as ``.npy``, figures as PNG, plain values as
    JSON, and a path (in the scratch folder) as the files that lie there. Raises UsageError.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return {"content": value}, "files"
    if isinstance(value, str):
        return {"content.txt": value.encode()}, "files"
    if isinstance(value, Path):
        return files_at(value), "files"
    kinds = {kind.__module__.partition(".")[0] for kind in type(value).__mro__}
    if "torch" in kinds:
        if isinstance(state := _state_of(value), Mapping):
            return {"model.safetensors": StateDictContent(state)}, "weights"
    elif isinstance(value, Mapping) and value and all(map(_is_tensor, value.values())):
        return {"model.safetensors": StateDictContent(value)}, "weights"
    elif "pandas" in kinds and hasattr(value, "to_parquet"):
        return {"data.parquet": _written(value, value.to_parquet)}, "table"
    elif "pandas" in kinds and hasattr(value, "to_frame"):
        frame = value.to_frame(name=value.name if isinstance(value.name, str) else "value")
        return {"data.parquet": _written(value, frame.to_parquet)}, "table"
    elif "polars" in kinds and hasattr(value, "write_parquet"):
        return {"data.parquet": _written(value, value.write_parquet)}, "table"
    elif "pyarrow" in kinds and hasattr(value, "column_names"):
        from pyarrow import parquet

        write = lambda file: parquet.write_table(value, file)  # noqa: E731
        return {"data.parquet": _written(value, write)}, "table"
    elif "numpy" in kinds:
        import numpy

        save = lambda file: numpy.save(file, value, allow_pickle=False)  # noqa: E731
        return {"array.npy": _written(value, save)}, "files"
    elif hasattr(value, "savefig"):
        return {"figure.png": _written(value, lambda file: value.savefig(file))}, "files"
    elif isinstance(value, dict | list | tuple | int | float):
        return {"value.json": _as_json(value)}, "files"
    raise _unsupported(value)


def _state_of(value: Any) -> Any:
    """The tensors of a model, or of a tensor itself; None for torch's other things."""
    if _is_tensor(value):
        return {"tensor": value}
    return value.state_dict() if hasattr(value, "state_dict") else None


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "data_ptr")


def _as_json(value: Any) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _unsupported(value, str(error)) from None


def _written(value: Any, write: Callable[[io.BytesIO], object]) -> memoryview:
    file = io.BytesIO()
    try:
        write(file)
    except Exception as error:  # each library has its own for what it cannot write
        raise _unsupported(value, str(error).partition("\n")[0]) from error
    return file.getbuffer()


def _unsupported(value: Any, why: str = "") -> UsageError:
    return UsageError(
        f"This value, of the type {type(value).__name__}, cannot be sealed as it is"
        + (f": {why.rstrip('.')}." if why else "."),
        next="Save a torch module, state_dict or tensor, a data frame, an array, a figure, text, "
        "bytes, plain JSON values, or a Path below $AISEC_SCRATCH.",
        code="value-unsupported",
    )
