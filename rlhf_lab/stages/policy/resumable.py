"""A Trainer that goes on from a folder of safetensors and JSON, where its own would read pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rlhf_lab.store.artifacts import write_json

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object

TENSORS, REST = "state.safetensors", "state.json"
TRAINER_STATE = "trainer_state.json"  # where the Trainer looks for the step


class Resumable(Trainer):
    """Stands before one of TRL's trainers in a class's bases."""

    NUMBERS: ClassVar[tuple[str, ...]] = ()  # attributes that training changes, beside weights
    generators: Mapping[str, torch.Generator] = MappingProxyType({})

    def moving(self) -> dict[str, nn.Module]:
        """The models whose weights training changes, by name."""
        return {"weight": self.accelerator.unwrap_model(self.model)}

    def go(self, folder: Path | None) -> None:
        """Train to the end, from the beginning or from where the checkpoint in `folder` was saved."""
        self.train(resume_from_checkpoint=None if folder is None else str(folder))

    def save_checkpoint(self, folder: Path) -> None:
        """Write to `folder` all that `go` needs: weights, optimiser, schedule, step, numbers and random numbers."""
        optimizer, schedule = self._running()
        state = optimizer.state_dict()
        tensors = {
            f"{name}.{key}": value.detach()
            for name, model in self.moving().items()
            for key, value in model.named_parameters()
        }
        for number, values in state["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
        tensors |= {f"random.{name}": one.get_state() for name, one in self.generators.items()}
        tensors["random.torch"] = torch.get_rng_state()
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / TENSORS)
        numbers = {name: getattr(self, name) for name in self.NUMBERS}
        rest = {"groups": state["param_groups"], "schedule": schedule.state_dict(), "numbers": numbers}
        write_json(folder / REST, rest)
        self.state.save_to_json(str(folder / TRAINER_STATE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Set all weights and numbers."""
        folder = Path(resume_from_checkpoint)
        tensors = load_file(folder / TENSORS)
        for name, value in json.loads((folder / REST).read_text())["numbers"].items():
            setattr(self, name, value)
        for name, moved in self.moving().items():
            load_weights(moved, _under(tensors, name))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Set the optimiser's moments and groups, and where the schedule of its rates is."""
        if checkpoint is None:
            return
        optimizer, schedule = self._running()
        rest = json.loads((Path(checkpoint) / REST).read_text())
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for path, value in _under(load_file(Path(checkpoint) / TENSORS), "optimizer").items():
            number, _, name = path.partition(".")
            moments.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({"state": moments, "param_groups": rest["groups"]})
        schedule.load_state_dict(rest["schedule"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Set the generators: the trainer's own, and torch's, with which TRL cuts a rollout into minibatches."""
        if checkpoint is None:
            return
        saved = _under(load_file(Path(checkpoint) / TENSORS), "random")
        for name, generator in self.generators.items():
            generator.set_state(saved[name])
        torch.set_rng_state(saved["torch"])

    def _running(self) -> tuple[Any, Any]:
        """Optimiser and schedule, which the Trainer makes when it starts."""
        assert self.optimizer is not None and self.lr_scheduler is not None
        return self.optimizer, self.lr_scheduler


def step_of(folder: Path) -> int:
    """The optimiser step after which the checkpoint in `folder` was saved."""
    return json.loads((folder / TRAINER_STATE).read_text())["global_step"]


@torch.no_grad()
def load_weights(model: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Set all parameters of `model`."""
    for name, value in model.named_parameters():
        value.copy_(saved[name])


def _under(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }
