"""YAML is data: none that is composed, whoever wrote it, may name Python to import, to call or to build.

Hydra builds its own parts (launchers, sweepers) from classes that are named in YAML. It takes only plugins that
are installed; its callbacks and logging handlers it would import from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from rlhf_lab.commands.mistakes import Mistake

TARGET = "_target_"
LOGGING = {"logging.StreamHandler", "logging.FileHandler", "colorlog.ColoredFormatter"}
STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}
MODULES = "pkg://"  # a search path of Hydra's that imports what it names


class FileConfigSource(file_config_source.FileConfigSource):
    """Files of YAML as Hydra reads them, each looked at before it is composed."""

    def load_config(self, config_path: str) -> ConfigResult:
        """The file; Mistake when it is not YAML or names Python."""
        name = f"{self.path}/{self._normalize_file_name(config_path)}"
        try:
            found = super().load_config(config_path)
        except yaml.constructor.ConstructorError as error:
            raise Mistake(
                f"{name}: {error.problem}: YAML cannot name Python to run; write plain values"
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Mistake(f"{name}: not YAML ({_place(error)}): mend the file") from None
        refuse(OmegaConf.to_container(found.config, resolve=False), name)
        return found


def register() -> None:
    """Have Hydra read all files through FileConfigSource."""
    Plugins.instance()  # registers Hydra's own sources first
    SourcesRegistry.instance().types["file"] = FileConfigSource


def refuse(config: Any, where: str) -> None:
    """Refuse plain YAML values that name Python; Mistake says which key of `where` does."""
    for key, value in _leaves(config):
        name = key.rpartition(".")[2]
        text = str(value)
        if (
            (name == TARGET and text not in Plugins.instance().class_name_to_class)
            or (name in ("class", "()") and text not in LOGGING)
            or (text.startswith(("ext://", MODULES)) and text not in STREAMS)
        ):
            raise Mistake(f"{where}: {key} names Python to run ({text}), which YAML cannot: remove it")


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted key and value of everything in nested mappings and lists."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _place(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """What is wrong with a file and where, without line breaks."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
