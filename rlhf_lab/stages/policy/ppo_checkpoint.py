"""The state of a PPO run between two rollouts, in safetensors and JSON: nothing of it is a pickle.

`PPOTrainer` goes on from such a folder by the Trainer's own way of resuming, with what it would read from
pickles read from here instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer

from rlhf_lab.store import write_json

TENSORS, REST = "state.safetensors", "state.json"
TRAINER_STATE = "trainer_state.json"  # where the Trainer looks for the step


def save(trainer: Trainer, rollouts: torch.Generator, folder: Path) -> None:
    """Write weights, optimiser, schedule, step and random numbers of `trainer` to `folder`."""
    optimizer, schedule = _running(trainer)
    state = optimizer.state_dict()
    tensors = {f"weight.{name}": value.detach() for name, value in _model(trainer).named_parameters()}
    for number, values in state["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    tensors |= {"random.rollouts": rollouts.get_state(), "random.torch": torch.get_rng_state()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / TENSORS)
    write_json(folder / REST, {"groups": state["param_groups"], "schedule": schedule.state_dict()})
    trainer.state.save_to_json(str(folder / TRAINER_STATE))


def step(folder: Path) -> int:
    """The optimiser step after which the state in `folder` was saved."""
    return json.loads((folder / TRAINER_STATE).read_text())["global_step"]


def load_weights(trainer: Trainer, folder: Path) -> None:
    """Set all parameters."""
    saved = _under(load_file(folder / TENSORS), "weight")
    with torch.no_grad():
        for name, value in _model(trainer).named_parameters():
            value.copy_(saved[name])


def load_optimizer(trainer: Trainer, folder: Path) -> None:
    """Set the optimiser's moments and groups, and where the schedule of its rates is."""
    optimizer, schedule = _running(trainer)
    rest = json.loads((folder / REST).read_text())
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for path, value in _under(load_file(folder / TENSORS), "optimizer").items():
        number, _, name = path.partition(".")
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": rest["groups"]})
    schedule.load_state_dict(rest["schedule"])


def load_random(rollouts: torch.Generator, folder: Path) -> None:
    """Set the generators: of rollouts, and torch's own, with which TRL cuts a rollout into minibatches."""
    saved = _under(load_file(folder / TENSORS), "random")
    rollouts.set_state(saved["rollouts"])
    torch.set_rng_state(saved["torch"])


def _model(trainer: Trainer) -> nn.Module:
    return trainer.accelerator.unwrap_model(trainer.model)


def _running(trainer: Trainer) -> tuple[Any, Any]:
    """Optimiser and schedule, which the Trainer makes when it starts."""
    assert trainer.optimizer is not None and trainer.lr_scheduler is not None
    return trainer.optimizer, trainer.lr_scheduler


def _under(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }
