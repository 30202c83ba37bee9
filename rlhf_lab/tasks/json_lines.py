"""Files of JSON lines in UTF-8, compressed with gzip or not; the first bytes of a file tell which, not its name."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

DEEP = "too many brackets inside one another: write plain rows"
GZIP = b"\x1f\x8b"  # the first bytes of every gzip file


def rows(path: Path, missing: str) -> Iterator[tuple[str, object]]:
    """Give the rows of a file of JSON lines, each with its place ("line 3"); blank lines are skipped.

    Raises ValueError, in one line, for a file that cannot be read. `missing` says what to do if there is no such
    file.
    """
    count = 0
    for number, line in enumerate(text(path, missing).split("\n"), start=1):
        if not line.strip():
            continue
        count += 1
        try:
            yield f"line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: not JSON ({error.msg}, column {error.colno}); expected one JSON "
                "object a line: write the file as JSON lines"
            ) from None
        except RecursionError:
            raise ValueError(f"{path}, line {number}: {DEEP}") from None
    if not count:
        raise ValueError(f"{path}: the file is empty, expected one JSON object a line: give a file with rows")


def text(path: Path, missing: str) -> str:
    """Return the text of a file of JSON lines; raise ValueError, in one line, if it cannot be read."""
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
        return data.decode("utf-8-sig")  # some editors put a byte order mark at the start
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start} is not UTF-8; expected JSON lines in UTF-8: convert the file"
        ) from None
