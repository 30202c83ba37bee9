"""Parquet files, written and read whole or part by part. Import these functions from `rlhf_lab.store.records`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PART = 1 << 17  # rows in memory at once when a table is read part by part


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length (numpy arrays or lists, which may be nested) as a Parquet file."""
    pq.write_table(pa.table(dict(columns)), path, compression="zstd")


def write_parts(path: Path, parts: Iterable[Mapping[str, Any]]) -> None:
    """Write the parts of a table one after the other, each as a row group; only one part is in memory at a time."""
    with ExitStack() as stack:
        writer = None
        for columns in parts:
            table = pa.table(dict(columns))
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)


def read_parts(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of the Parquet file at `path` in tables of at most PART rows, none across two row groups."""
    with open_table(path) as file:
        for number in range(file.num_row_groups):
            for batch in file.iter_batches(PART, row_groups=[number], columns=list(columns)):
                yield pa.Table.from_batches([batch])


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table in the Parquet file at `path`, or only its columns `columns`."""
    with open_table(path) as file:
        return read_columns(file, columns)


def read_columns(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    """Return the table in an open file, or only its columns `columns`.

    A file with one row group is read without threads, as that is faster than to start them.
    """
    names = None if columns is None else list(columns)
    return file.read(columns=names, use_threads=file.num_row_groups > 1)


def open_table(path: Path) -> pq.ParquetFile:
    """Open the Parquet file at `path` without a buffer of its bytes, so that memory holds only the tables."""
    return pq.ParquetFile(path, pre_buffer=False)
