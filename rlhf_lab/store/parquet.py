"""Parquet files: written whole or part by part, read likewise. `rlhf_lab.store.records` hands these on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PART = 1 << 17  # rows held at once where a table is read part by part


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns (numpy arrays or lists, nested ones too) of equal length as a Parquet file."""
    pq.write_table(pa.table(dict(columns)), path, compression="zstd")


def write_parts(path: Path, parts: Iterable[Mapping[str, Any]]) -> None:
    """Write a table whose parts come one after the other, each as a row group; none is held once it is written."""
    with ExitStack() as stack:
        writer = None
        for columns in parts:
            table = pa.table(dict(columns))
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
            writer.write_table(table)


def read_parts(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The row groups of the Parquet file at `path`, one after the other, and none of more rows than `PART` at once."""
    with open_table(path) as file:
        for number in range(file.num_row_groups):
            for batch in file.iter_batches(PART, row_groups=[number], columns=list(columns)):
                yield pa.Table.from_batches([batch])


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The Parquet file at `path`, or only those columns of it."""
    with open_table(path) as file:
        return read_columns(file, columns)


def read_columns(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    """All row groups of an open table, or only those columns; a single one is decoded sooner than threads start."""
    names = None if columns is None else list(columns)
    return file.read(columns=names, use_threads=file.num_row_groups > 1)


def open_table(path: Path) -> pq.ParquetFile:
    """The Parquet file at `path`; what is read of it is held as tables alone, not as the file's bytes too."""
    return pq.ParquetFile(path, pre_buffer=False)
