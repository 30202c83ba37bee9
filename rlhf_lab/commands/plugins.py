"""What other packages add: entry points of the group `rlhf_lab`, called before anything is composed.

An entry point is a function without arguments, in a module whose classes are registered with
`rlhf_lab.config.registry.option`. It returns the folder of YAML options that goes with them (laid out as `conf/`),
or None.
"""

from __future__ import annotations

import functools
import warnings
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "rlhf_lab"


@functools.cache
def load() -> list[Path]:
    """Call every entry point, once in a process; the folders of YAML options that they bring."""
    folders: list[Path] = []
    for entry in entry_points(group=GROUP):
        try:
            added = entry.load()()
        except Exception as error:
            warnings.warn(f"plugin {entry.name} ({entry.value}) does not load: {error}", stacklevel=2)
            continue
        if added is not None:
            folders.append(Path(added))
    return folders
