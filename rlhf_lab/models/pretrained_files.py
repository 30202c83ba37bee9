"""The files of a pretrained checkpoint: where they are, what they describe, and what is refused, without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlhf_lab.config.models import PretrainedModel

# The files that are fetched from the hub.
FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
CAUSAL = ("ForCausalLM", "LMHeadModel")  # ends of the class names of language models
CLASSIFIER = "ForSequenceClassification"  # end of the class names of reward models
LONGEST = ("max_position_embeddings", "n_positions")  # names in config.json of the longest input in tokens


def local(config: PretrainedModel) -> Path | None:
    """Return the folder of a checkpoint that is on this machine, or None; ValueError if the path is a file."""
    folder = Path(config.path).expanduser()
    if folder.is_file():
        raise ValueError(f"{config.path}: found a file, expected a folder with a checkpoint: name its folder")
    return folder if folder.is_dir() else None


def folder(config: PretrainedModel) -> Path:
    """Return the folder with the files of the checkpoint; those of a hub repository are fetched first."""
    if (path := local(config)) is not None:
        return path
    from huggingface_hub import snapshot_download

    name = config.path if config.revision is None else f"{config.path}@{config.revision}"
    try:
        return Path(snapshot_download(config.path, revision=config.revision, allow_patterns=list(FILES)))
    except Exception as error:  # the hub and the network fail in too many ways to list
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"{name}: neither a local folder nor a hub repository that could be "
            f"fetched ({type(error).__name__}: {first}): check the name, the commit and the connection"
        ) from error


def check(folder: Path, name: str) -> None:
    """Raise ValueError for a checkpoint that is not whole, not safe to load, or not a model of text.

    `name` is what the user calls the checkpoint.
    """
    description = describe(folder, name)
    for file in ("config.json", "tokenizer_config.json"):
        if "auto_map" in _json(folder / file, name):
            raise ValueError(
                f"{name}: {file} needs code of the checkpoint (auto_map), which is never run here: use a "
                "model whose class is in transformers"
            )
    _check_weights(folder, name)
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise ValueError(
            f"{name}: found no tokenizer ({', '.join(TOKENIZERS)}): save the model's tokenizer beside it"
        )
    if not architecture(description).endswith((*CAUSAL, CLASSIFIER)):
        raise ValueError(
            f"{name}: found a model {architecture(description)}, expected a causal language model or a "
            "sequence classifier"
        )


def describe(folder: Path, name: str) -> dict[str, Any]:
    """Return the config.json of the checkpoint; ValueError if there is none."""
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{name}: found no config.json, expected a whole model: merge an adapter into its base first"
        )
    return _json(folder / "config.json", name)


def architecture(description: dict[str, Any]) -> str:
    """Return the class name of the model."""
    return str((description.get("architectures") or ["of an unknown class"])[0])


def is_classifier(description: dict[str, Any]) -> bool:
    """Return whether the checkpoint is a reward model rather than a language model."""
    return architecture(description).endswith(CLASSIFIER)


def longest(description: dict[str, Any]) -> int | None:
    """Return the longest input of the model in tokens, or None if its config.json does not say."""
    return next((description[key] for key in LONGEST if isinstance(description.get(key), int)), None)


def _json(path: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of the checkpoint, empty if there is no such file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested too deep
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: {path.name} is not a JSON object: save the model again")
    return content


def _check_weights(folder: Path, name: str) -> None:
    """Raise ValueError for weights that are only pickled, missing, or cut off."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
        only = f"only pickled weights ({pickled[0]})" if pickled else "no weights"
        raise ValueError(
            f"{name}: found {only}, expected *.safetensors: save with save_pretrained of transformers"
        )
    for index in folder.glob("*.safetensors.index.json"):
        listed = _json(index, name).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(shard, str) for shard in listed.values()):
            raise ValueError(f"{name}: {index.name} has no map of its weights to files: save the model again")
        if missing := sorted({*listed.values()} - {path.name for path in weights}):
            raise ValueError(f"{name}: found no {missing[0]}, which {index.name} lists: fetch all its files")
    for path in weights:
        if not _is_whole(path):
            raise ValueError(f"{name}: {path.name} is not a whole safetensors file: save or fetch it again")


def _is_whole(path: Path) -> bool:
    """Return whether a safetensors file is as long as its header says: 8 bytes, the header, the tensors."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        size = path.stat().st_size
        if not 2 <= length <= size - 8:
            return False
        try:
            header = json.loads(stream.read(length))
            ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"]
            return size == 8 + length + max(ends, default=0)
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError, IndexError):
            return False
