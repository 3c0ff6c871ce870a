"""Tables: Parquet, CSV and JSON lines in sealed files, as Arrow, pandas or polars."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from jupyter_aisec.errors import MalformedError, UsageError
from jupyter_aisec.sealed.artifact import TABLE_SUFFIXES

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import OpenArtifact

__all__ = ["TableFormat", "load_table", "need_package"]

TableFormat = Literal["arrow", "pandas", "polars"]


def load_table(
    artifact: OpenArtifact,
    format: TableFormat = "pandas",
    *,
    columns: Sequence[str] | None = None,
) -> Any:
    """All table files of an artifact, one below the other, as one table.

    ``columns`` picks some of the columns. Raises UsageError (no table, no such column, a
    package that is missing) and MalformedError (a file that is not what its suffix says).
    """
    names = [n for n in artifact.names if PurePosixPath(n).suffix.lower() in TABLE_SUFFIXES]
    if not names:
        raise UsageError(
            f"{artifact.manifest.artifact} has no Parquet, CSV or JSON lines file.",
            next=f"Take its files as they are: `%load_secure {artifact.manifest.artifact} as VAR "
            f"--format bytes` ({', '.join(artifact.names[:4])}).",
            code="no-table",
        )
    arrow = need_package("pyarrow")
    target = arrow if format == "arrow" else need_package(format)
    try:
        tables = [_read(artifact, name, columns) for name in names]
        table = arrow.concat_tables(tables, promote_options="default")
    except (arrow.ArrowException, OSError) as error:  # a footer of nonsense is an OSError there
        raise MalformedError(
            f"A table of {artifact.manifest.artifact} cannot be read: {error}.",
            next="Check the file that was sealed, and seal it again: "
            "`aisec artifact seal SRC NAME`.",
            code="table-malformed",
        ) from error
    if format == "pandas":
        return table.to_pandas()
    return target.from_arrow(table) if format == "polars" else table


def _read(artifact: OpenArtifact, name: str, columns: Sequence[str] | None) -> Any:
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    with artifact.open(name) as file:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix == ".parquet":
            parquet = pyarrow.parquet.ParquetFile(file)
            _check_columns(name, columns, parquet.schema_arrow.names)
            return parquet.read(columns=columns)
        read = pyarrow.csv.read_csv if suffix == ".csv" else pyarrow.json.read_json
        table = read(file)
    _check_columns(name, columns, table.column_names)
    return table if columns is None else table.select(columns)


def _check_columns(name: str, wanted: Sequence[str] | None, there: Sequence[str]) -> None:
    missing = [column for column in wanted or () if column not in there]
    if missing:
        raise UsageError(
            f"{name} has no column {', '.join(missing)}.",
            next=f"It has: {', '.join(there[:20])}{', …' if len(there) > 20 else '.'}",
            code="column-unknown",
        )


def need_package(name: str) -> Any:
    """The package of that name, imported; raises UsageError (``package-missing``)."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(
            f"Reading this needs the package {name}.",
            next=f"Install it, `pip install {name}`, or take another format.",
            code="package-missing",
        ) from None
