"""Files of JSON lines in UTF-8, gzip or not: the first bytes decide, not the name."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

GZIP = b"\x1f\x8b"  # the first bytes of every gzip file, whatever its name


def rows(path: Path, missing: str) -> Iterator[tuple[str, object]]:
    """The rows of a file of JSON lines, each with its place; blank lines are skipped.

    ValueError, in one line, for a file that cannot be read; `missing` says what to do where there is none.
    """
    found = 0
    for number, line in enumerate(text(path, missing).split("\n"), start=1):
        if not line.strip():
            continue
        found += 1
        try:
            yield f"line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: not JSON ({error.msg}, column {error.colno}); expected one JSON "
                "object a line: write the file as JSON lines"
            ) from None
    if not found:
        raise ValueError(f"{path}: the file is empty, expected one JSON object a line: give a file with rows")


def text(path: Path, missing: str) -> str:
    """The text of a file of JSON lines, gzip or not."""
    if path.is_dir():
        raise ValueError(f"{path}: found a folder, expected a file of JSON lines: name the file in it")
    if not path.is_file():
        raise ValueError(f"{path}: found no such file, expected JSON lines (gzip or not): {missing}")
    data = path.read_bytes()
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path}: the gzip data are damaged ({error}): download the file again"
            ) from None
    try:
        return data.decode("utf-8-sig")  # some editors put a mark at the start
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start} is not UTF-8; expected JSON lines in UTF-8: convert the file"
        ) from None
