"""What every trainer of TRL is told: quiet, float32, nothing saved behind our back, numbers to our own record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics, require_finite

AnyTrainer = TypeVar("AnyTrainer", bound=Trainer)


def arguments(out: Path, seed: int, runtime: Runtime) -> dict[str, Any]:
    """Arguments that all our uses of TRL's trainers share."""
    return {
        "output_dir": str(out / "trainer"),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": runtime.device == "cpu",
        "bf16": False,  # autocast is slower at these sizes, and on by default
        "activation_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": runtime.log_every,
        "logging_nan_inf_filter": False,  # or the Trainer would log the mean of earlier losses in its place
        "dataloader_pin_memory": False,
        "adam_beta2": 0.95,
        "optim": "adamw_torch_fused",
    }


class _Record(TrainerCallback):
    """Hands a trainer's numbers to our metrics."""

    def __init__(self, metrics: Metrics, names: tuple[str, ...]) -> None:
        self._metrics = metrics
        self._names = names

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the named numbers of this line; a final summary line has none."""
        found = {name: float(logs[name]) for name in self._names if logs and name in logs}
        if found:
            self._metrics.log(state.global_step, **found)


def bare(
    trainer: AnyTrainer, metrics: Metrics, names: tuple[str, ...] = ("loss", "grad_norm", "accuracy")
) -> AnyTrainer:
    """`trainer` without printing, its numbers going to `metrics`; a loss that is not finite stops it."""
    step = trainer.training_step

    def checked(*args: Any, **kwargs: Any) -> Any:
        loss = step(*args, **kwargs)
        require_finite(trainer.state.global_step, loss=float(loss))
        return loss

    trainer.training_step = checked
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Record(metrics, names))
    return trainer


class AfterStep(TrainerCallback):
    """Calls `act(step)` after every optimiser step; training ends where it returns True."""

    def __init__(self, act: Callable[[int], bool | None]) -> None:
        self._act = act

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Act."""
        if self._act(state.global_step):
            control.should_training_stop = True


class AfterLine(TrainerCallback):
    """Calls `act(step)` whenever the Trainer has told the mean loss since it last did: nothing is half counted then."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self._act = act

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Act."""
        if logs and "loss" in logs:
            self._act(state.global_step)
