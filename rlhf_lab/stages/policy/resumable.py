"""A Trainer whose checkpoints are safetensors and JSON; those of transformers hold pickles."""

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
TRAINER_STATE = "trainer_state.json"  # the file in which the Trainer looks for the step


class Resumable(Trainer):
    """A mixin that stands before one of TRL's trainers in the bases of a class."""

    STATE: ClassVar[tuple[str, ...]] = ()  # attributes, beside weights, that training changes
    generators: Mapping[str, torch.Generator] = MappingProxyType({})

    def trained_models(self) -> dict[str, nn.Module]:
        """Return the models whose weights training changes, by name."""
        return {"weight": self.accelerator.unwrap_model(self.model)}

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end, from the beginning or from a checkpoint."""
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    def save_checkpoint(self, folder: Path) -> None:
        """Write all that `train_from` needs: weights, optimiser, schedule, step, state and random generators."""
        optimizer, schedule = self._optimizer_and_schedule()
        state = optimizer.state_dict()
        tensors = {
            f"{name}.{key}": value.detach()
            for name, model in self.trained_models().items()
            for key, value in model.named_parameters()
        }
        for number, values in state["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
        tensors |= {f"random.{name}": generator.get_state() for name, generator in self.generators.items()}
        tensors["random.torch"] = torch.get_rng_state()
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / TENSORS)
        numbers = {name: getattr(self, name) for name in self.STATE}
        rest = {"groups": state["param_groups"], "schedule": schedule.state_dict(), "numbers": numbers}
        write_json(folder / REST, rest)
        self.state.save_to_json(str(folder / TRAINER_STATE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Set all weights and the attributes in STATE."""
        folder = Path(resume_from_checkpoint)
        tensors = load_file(folder / TENSORS)
        for name, value in json.loads((folder / REST).read_text())["numbers"].items():
            setattr(self, name, value)
        for name, trained in self.trained_models().items():
            load_weights(trained, _with_prefix(tensors, name))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Set the optimiser's moments and groups, and the position in the schedule of learning rates."""
        if checkpoint is None:
            return
        optimizer, schedule = self._optimizer_and_schedule()
        rest = json.loads((Path(checkpoint) / REST).read_text())
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for path, value in _with_prefix(load_file(Path(checkpoint) / TENSORS), "optimizer").items():
            number, _, name = path.partition(".")
            moments.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({"state": moments, "param_groups": rest["groups"]})
        schedule.load_state_dict(rest["schedule"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Set the trainer's own generators and torch's, with which TRL cuts a rollout into minibatches."""
        if checkpoint is None:
            return
        saved = _with_prefix(load_file(Path(checkpoint) / TENSORS), "random")
        for name, generator in self.generators.items():
            generator.set_state(saved[name])
        torch.set_rng_state(saved["torch"])

    def _optimizer_and_schedule(self) -> tuple[Any, Any]:
        """Return the optimiser and the schedule, which the Trainer makes when it starts."""
        assert self.optimizer is not None and self.lr_scheduler is not None
        return self.optimizer, self.lr_scheduler


def step_of(folder: Path) -> int:
    """Return the optimiser step after which the checkpoint in `folder` was saved."""
    return json.loads((folder / TRAINER_STATE).read_text())["global_step"]


@torch.no_grad()
def load_weights(model: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Set all parameters of `model` to the saved ones."""
    for name, value in model.named_parameters():
        value.copy_(saved[name])


def _with_prefix(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }
