"""Which jobs a sweep has: the union of products of overrides, narrowed by the command line."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence

from hydra.core.override_parser.types import Override

Parse = Callable[[list[str]], list[Override]]
Axes = dict[str, list[str]]  # key as written, with + or package -> its values as text


def axes(overrides: Sequence[Override]) -> Axes:
    """Each override's key with all values that it sweeps over, or its one."""
    return {override.get_key_element(): _values(override) for override in overrides}


def only(value: str) -> str:
    """`value` as a sweep over nothing else."""
    return f"choice({value})"


def _values(override: Override) -> list[str]:
    written = (override.input_line or "").partition("=")[2]
    if not override.is_sweep_override():
        return [written]
    if not override.is_discrete_sweep():
        key = override.get_key_element()
        raise ValueError(f"{override.input_line}: a sweep needs values to go through, such as {key}=0,0.1")
    values = [str(value) for value in override.sweep_string_iterator()]
    single = len(values) == 1 and written.startswith("choice(")
    return [written.removeprefix("choice(").removesuffix(")")] if single else values


def narrow(cells: Sequence[Axes], given: Axes) -> list[Axes]:
    """The cells with `given` applied.

    Where some cells have a value that is given, each keeps only what is given of its own, and goes if nothing
    is; a key or value that no cell has is put into all of them.
    """
    for key, values in given.items():
        known = {value for cell in cells for value in cell.get(key, ())}
        kept = [[v for v in values if v in cell.get(key, values) or v not in known] for cell in cells]
        cells = [{**cell, key: some} for cell, some in zip(cells, kept, strict=True) if some]
    return list(cells)


def jobs(
    params: Mapping[str, str], cells: Sequence[str], given: Sequence[str], parse: Parse
) -> list[list[str]]:
    """The overrides of every job: for each cell the product of `params`, the cell and what is `given`."""
    common = axes(parse([f"{key}={value}" for key, value in params.items()]))
    all_cells = [common | axes(parse(shlex.split(cell))) for cell in cells] or [common]
    found: list[list[str]] = []
    for cell in narrow(all_cells, axes(parse(list(given)))):
        pairs = [[f"{key}={value}" for value in values] for key, values in cell.items()]
        found += [list(job) for job in itertools.product(*pairs)]
    return found
