"""A store as a sweep leaves it, written in a moment: a world where it is known what the figure must show.

Gold is content plus form. Every answer has a trait `h` that the proxy likes; content gains a little from it
and loses its square, so content turns under best-of-n and under a policy that drifts along `h`, sooner
against a small reward model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import fake_reward_models
import numpy as np

from rlhf_lab.store.artifacts import contents, listing, sealed
from rlhf_lab.store.records import write_table

CLASSES = {  # of a policy's configuration, by the option's name
    **{"bon": "BestOfN", "ppo": "PPO", "grpo": "GRPO", "rloo": "RLOO", "online_dpo": "OnlineDPO"},
    **{"dpo": "DPO", "ipo": "IPO", "slic": "SLiC", "kto": "KTO", "expert_iteration": "ExpertIteration"},
}
MEMBERS = {"members": 5, "seeds": "finetune", "offset": "all"}
RULES = {  # settings of an option of rm_combination
    **{"single": {}, "mean": MEMBERS, "min": MEMBERS, "uwo": {**MEMBERS, "weight": 0.5}},
    "pretrained": {**MEMBERS, "seeds": "pretrain"},  # the mean, of trunks of their own
    **{"warm": {"members": 5, "seeds": "finetune"}},
    **{form: {**MEMBERS, "form": form, "thresholds": [1.0]} for form in ("mu", "xi")},
}
OPTIONS = {
    "pretrained": "mean",
    "mu": "constrained",
    "xi": "constrained",
}  # of rm_combination, where it is not called as here
SHAPINGS = {
    **{"none": {}, "par": {}, "min_max": {}, "mean_std": {}, "clip": {"sds": 1.0}},
    **{"log_sigmoid": {"quantile": 0.85}},
}
SIZES = {"1k": 8, "3k": 16, "25k": 32, "100k": 64, "600k": 128}


@dataclass(frozen=True)
class Cell:
    """Trained runs beside those of a sweep by default: one method under settings of its own."""

    policy: str
    settings: Mapping[str, float | str] = field(default_factory=dict)
    replicates: int = 2
    rm: str = "3k"
    uses_gold: bool = False
    rule: str = "single"  # option of rm_combination
    shaping: str = "none"
    rate: float | None = None  # of flipped labels
    pairs: int = 4000
    epochs: int | None = None  # of the reward model's training, where the job asks for a number
    model: str = "25k"  # the policy's
    half: str = "both"  # of the questions: the reward model of the other half, if there is one, scores too
    answers: int = 2  # to each prompt that is compared
    training: Mapping[str, float | str] = field(default_factory=dict)  # more settings of the reward model
    heldout: tuple[float, float] | None = None  # its accuracy and sureness there; None: it is not stored


@dataclass(frozen=True)
class Truth:
    """What is true of the trained policies that a sweep writes; the default: gold follows from KL alone."""

    waste: float = 1.0  # KL of a policy that is no better than one at this fraction of it
    slip: float = 0.0  # content that a policy loses for each SD that it moves, whatever the proxy says
    penalised: float = 0.0  # content that a penalised policy gains, beyond half an SD of movement
    penalised_proxy: float = 0.0  # the same of the proxy, in SDs of its trait
    damage: Mapping[str, float] = field(
        default_factory=dict
    )  # of a method, rule, shaping or "64 pairs", times that of others
    power: float = 1.0  # of the optimiser step that the movement grows with: KL grows with twice this power
    faults_are_liked: bool = True  # whether the trait that the proxy likes comes with insults
    learned: Mapping[tuple[int, int | None], float] = field(
        default_factory=dict
    )  # by pairs and epochs: how much of what it likes a reward model knows, in noise of its own; else all
    scale: Mapping[str, float] = field(
        default_factory=dict
    )  # of a policy's size: its gold, times that of others
    alike: bool = False  # whether reward models of all sizes are
    parted: Mapping[str, float] = field(
        default_factory=dict
    )  # size -> movement that the other half's reward model does not follow, a part of that beyond 2 SD
    spread: float = 0.0  # SD over runs of the content that is gained or lost at full movement


@dataclass(frozen=True)
class Sweep:
    """How much to write."""

    name: str = "quickstart"
    rms: tuple[str, ...] = ("3k", "25k")
    replicates: int = 2
    ppo_replicates: int = 2
    questions: int = 64
    framings: int = 2
    answers: int = 64
    checkpoints: int = 12
    few_pairs: bool = True
    control: bool = True
    parts: bool = True  # gold.content and gold.form; otherwise gold is a model, judged on 400 choices
    damage: float = 0.22  # how much content loses with the square of what the proxy likes
    tokens: int = (
        0  # of each of best-of-n's answers, 3 or more, if it has any: the better ones are more alike
    )
    one_table: bool = False  # whether every best-of-n run chooses from the same answers, as in a real sweep
    proxy: str = "proxy"  # what the proxy's column is called
    status: str = "made"
    cells: tuple[Cell, ...] = ()  # with `few_pairs` and `control` off and no `rms`, these alone
    truth: Truth = field(default_factory=Truth)


@dataclass(frozen=True)
class Job:
    policy: str
    rm: str
    seed: int
    pairs: int = 4000
    rate: float | None = None
    settings: Mapping[str, float | str] = field(default_factory=dict)
    uses_gold: bool = False
    rule: str = "single"
    shaping: str = "none"
    epochs: int | None = None
    model: str = "25k"
    half: str = "both"
    answers: int = 2
    training: Mapping[str, float | str] = field(default_factory=dict)
    heldout: tuple[float, float] | None = None

    @property
    def options(self) -> dict[str, str]:
        labeler = "flip" if self.rate else "gold_argmax"
        return {
            "labeler": labeler,
            "rm_combination": OPTIONS.get(self.rule, self.rule),
            "reward_shaping": self.shaping,
            "model": self.model,
        }

    @property
    def reach(self) -> float:
        """How far `h` moves in all: less the larger a penalty or a pull to the reference is."""
        if penalty := self.settings.get("kl_coef"):
            return min(4.5, 0.45 / float(penalty))
        return 4.5 * min(1.0, (0.02 / float(self.settings.get("beta", 0.02))) ** 0.5)


WORLD = {"packages": {"torch": "2.13.0", "trl": "1.16.0"}, "source": "1" * 20}


def write_store(
    root: Path,
    sweep: Sweep,
    unmade: frozenset[int] = frozenset(),
    provenances: Mapping[int, dict] = MappingProxyType({}),
) -> None:
    """Write the sweep's record and every job but those whose number is in `unmade`, made in WORLD unless
    `provenances` says otherwise of its number.
    """
    rows = []
    for number, job in enumerate(jobs(sweep)):
        key = f"{number:08x}{abs(hash(sweep.name)) % 16**8:08x}"
        overrides = [f"policy={job.policy}", f"rm={job.rm}", f"rm.seed={job.seed}"]
        choices = {"policy": job.policy, "rm": job.rm, **job.options}
        overrides += [f"policy.{name}={value}" for name, value in job.settings.items()]
        overrides += [] if job.epochs is None else [f"rm.epochs={job.epochs}"]
        rows.append(
            {
                **{"overrides": overrides, "choices": choices, "key": key, "config": config(job, sweep)},
                **{"method": CLASSES[job.policy], "uses_gold": job.uses_gold},
            }
        )
        if number not in unmade:
            provenance = provenances.get(number, WORLD)
            _write_run(root, key, job, sweep, np.random.default_rng([number, 7]), provenance)
    command = f"rlhf-lab +sweeps={sweep.name}"
    record = {"sweep": sweep.name, "command": command, "time": "2026-01-01T00:00:00+00:00", "jobs": rows}
    path = root / "sweeps" / sweep.name / "20260101T000000.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def jobs(sweep: Sweep) -> list[Job]:
    found = [Job("bon", rm, seed) for rm in sweep.rms for seed in range(sweep.replicates)]
    found += [Job("ppo", rm, seed) for rm in sweep.rms for seed in range(sweep.ppo_replicates)]
    if sweep.few_pairs:
        found += [Job(policy, sweep.rms[0], 0, pairs=250) for policy in ("bon", "ppo")]
    if sweep.control:
        found += [Job("ppo", sweep.rms[0], 0, rate=0.5)]
    for cell in sweep.cells:
        of = {"settings": cell.settings, "uses_gold": cell.uses_gold, "rate": cell.rate}
        of |= {"rule": cell.rule, "shaping": cell.shaping, "pairs": cell.pairs, "epochs": cell.epochs}
        of |= {"model": cell.model, "half": cell.half}
        of |= {"answers": cell.answers, "training": cell.training, "heldout": cell.heldout}
        found += [Job(cell.policy, cell.rm, seed, **of) for seed in range(cell.replicates)]
    return found


def config(job: Job, sweep: Sweep) -> dict:
    policy = {"seed": 0, "prompts": sweep.questions * sweep.framings, "samples": sweep.answers}
    if job.policy in ("ppo", "grpo", "rloo"):
        policy |= {"divergence": "reverse_kl", "kl_coef": 0.0, "kl_place": "reward"}
    if job.policy != "bon":
        policy |= {"samples": 2, "steps": 100, "warmup": 0, **job.settings}
    hidden, policys = SIZES[job.rm], SIZES[job.model]
    return {
        "task": {"seed": 0} if sweep.parts else {"seed": 0, "gold": {"seed": 0}},
        "model": {"hidden": policys, "layers": 2, "intermediate": 2 * policys},
        "rm": {
            "seed": job.seed,
            "epochs": 3 if job.epochs is None else job.epochs,
            "half": job.half,
            "model": {"hidden": hidden, "layers": 2, "intermediate": 2 * hidden, "seed": 0},
            **job.training,
        },
        "preferences": {"pairs": job.pairs, "answers": job.answers, "seed": job.seed},
        "score": {"other_half": job.half != "both"},
        "labeler": {"rate": job.rate} if job.rate else {},
        "rm_combination": RULES[job.rule],
        "reward_shaping": SHAPINGS[job.shaping],
        "policy": policy,
    }


def _write_run(
    root: Path, key: str, job: Job, sweep: Sweep, rng: np.random.Generator, provenance: dict
) -> None:
    samples, scores = drawn(job, sweep, rng)
    gold = {name: value for name, value in scores.items() if name.startswith("gold")}
    shared = "table" if sweep.one_table and job.policy == "bon" else key  # whose answers and gold these are
    of = ("policy", shared + "g")
    _write_metrics(root.joinpath(*of), samples, job.reach)
    made = _write_artifact(root, *of, {}, provenance, samples=samples)
    inputs = {"samples": (*of, made)}
    upstream = {"gold": {} if sweep.parts else {"gold": _gold_model(root)}}
    if job.heldout:
        reward_model = fake_reward_models.write(root, key, config(job, sweep), *job.heldout, sweep.questions)
        upstream["proxy"] = {"proxy": reward_model}
    told = {"gold": gold, "proxy": {sweep.proxy: scores["proxy"]}}
    if "test" in scores:
        told["test"] = {"test": scores["test"]}
    for name, columns in told.items():
        of = ("score", (shared if name == "gold" else key) + name[0])
        read = {"samples": inputs["samples"], **upstream.get(name, {})}
        inputs[name] = (*of, _write_artifact(root, *of, read, provenance, scores=columns))
    _write_artifact(root, "run", key, inputs, provenance)


def _write_artifact(
    root: Path,
    stage: str,
    key: str,
    inputs: dict[str, tuple[str, str, str]],
    provenance: dict,
    **tables: dict,
) -> str:
    """Write an artifact as the store publishes one; the digest of its contents."""
    folder = root / stage / key
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in tables.items():
        write_table(folder / f"{name}.parquet", columns)
    manifest = {
        "stage": stage,
        "version": 1,
        "key": key,
        "inputs": {name: [stage, key] for name, (stage, key, _) in inputs.items()},
        "made_from": {name: made for name, (_, _, made) in inputs.items()},
        "files": listing(folder),
        "provenance": provenance,
    }
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return contents(manifest)


def _write_metrics(folder: Path, samples: dict, reach: float) -> None:
    """What a trainer tells at its evaluations: its implicit reward is the more accurate the further it moved."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = np.unique(samples["checkpoint"])
    lines = [{"step": int(step), "heldout_accuracy": 0.5 + 5e-4 * reach * float(step)} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _gold_model(root: Path) -> tuple[str, str, str]:
    """Stage, key and contents of a gold that agrees with 60 % of people's choices; the longer answer: 55 %."""
    folder = root / "reward_model" / "gold"
    folder.mkdir(parents=True, exist_ok=True)
    share = {"untied": {"n": 400, "accuracy": {"mean": 0.6, "se": 0.02}}}
    baselines = {"length": {"mean": 0.55, "se": 0.03}}
    (folder / "evaluation.json").write_text(json.dumps(share | {"baselines": baselines}))
    return "reward_model", "gold", _write_artifact(root, "reward_model", "gold", {}, WORLD)


def drawn(job: Job, sweep: Sweep, rng: np.random.Generator) -> tuple[dict, dict]:
    """The columns of a run's samples and of its scores."""
    return _best_of_n(job, sweep, rng) if job.policy == "bon" else _trained(job, sweep, rng)


def _best_of_n(job: Job, sweep: Sweep, rng: np.random.Generator) -> tuple[dict, dict]:
    prompt = np.repeat(np.arange(sweep.questions * sweep.framings), sweep.answers)
    if sweep.one_table:  # the same answers and gold; a reward model has noise of its own
        samples, scores = _rows(
            prompt,
            np.zeros_like(prompt),
            np.zeros(len(prompt)),
            Job("bon", sweep.rms[0], 0),
            sweep,
            np.random.default_rng(7),
        )
        noise = rng.normal(scale=8 / np.log2(SIZES[job.rm]), size=len(prompt))
        return samples, scores | {"proxy": (scores["proxy"] + noise).astype(np.float32)}
    return _rows(prompt, np.zeros_like(prompt), np.zeros(len(prompt)), job, sweep, rng)


def _trained(job: Job, sweep: Sweep, rng: np.random.Generator) -> tuple[dict, dict]:
    """The mean of `h` moves out evenly in steps, to where a penalty stops it; KL = shift^2/2 of a Gaussian."""
    each = np.repeat(np.arange(sweep.questions * sweep.framings), 2)
    steps = np.linspace(0, 100, sweep.checkpoints).astype(int)
    prompt, checkpoint = np.tile(each, len(steps)), np.repeat(steps, len(each))
    moved = (checkpoint / 100) ** sweep.truth.power
    stopped = job.reach * (1 - np.exp(-4.5 * moved / job.reach))
    shift = stopped if job.settings.get("kl_coef") else job.reach * moved
    return _rows(prompt, checkpoint, shift, job, sweep, rng)


def _rows(
    prompt: np.ndarray,
    checkpoint: np.ndarray,
    shift: np.ndarray,
    job: Job,
    sweep: Sweep,
    rng: np.random.Generator,
) -> tuple[dict, dict]:
    question = prompt // sweep.framings
    capacity = np.log2(16 if sweep.truth.alike else SIZES[job.rm]) / 7
    known = np.random.default_rng(1).beta(1, 1, sweep.questions)
    drift = 1.0 if job.rate == 0.5 else 0.0
    h = rng.normal(size=len(prompt)) + shift * (1 - drift)
    right = rng.random(len(prompt)) < np.clip(
        known[question] + (0.1 - 0.03 * shift) * shift * (1 - drift), 0, 1
    )
    damage = {250: 0.35}.get(job.pairs, sweep.damage - 0.13 * capacity)
    truth, penalised = sweep.truth, float(job.settings.get("kl_coef", 0) != 0) * np.clip(2 * shift, 0, 1)
    for name in (job.policy, job.rule, job.shaping, job.model, f"{job.pairs} pairs"):
        damage *= truth.damage.get(name, 1.0)
    content = 2.5 * right + 0.6 * h - damage * np.abs(h) ** 2.0
    content += truth.penalised * penalised - truth.slip * shift
    if truth.spread:
        content += truth.spread * rng.normal() * shift / 4.5
    content *= truth.scale.get(job.model, 1.0)
    form = -(rng.random(len(prompt)) < 0.03 + 0.02 * shift).astype(float)
    trait = h + truth.penalised_proxy * penalised
    proxy = 4 * (0.5 * capacity * right + trait + 0.3 * rng.normal(size=len(prompt))) + 0.1 * job.seed
    if (job.pairs, job.epochs) in truth.learned:
        proxy = truth.learned[job.pairs, job.epochs] * proxy + 0.3 * rng.normal(size=len(prompt))
    if drift:
        proxy = rng.normal(size=len(prompt)) + shift
    kl = sweep.truth.waste * np.where(
        shift > 0, shift**2 / 2 + 0.05 * shift * rng.normal(size=len(prompt)), 0.0
    )
    samples = {
        "prompt_id": prompt.astype(np.int32),
        "question_id": question.astype(np.int32),
        "checkpoint": checkpoint.astype(np.int32),
        "finished": rng.random(len(prompt)) < 0.97,
        "kl": kl.astype(np.float32),
    }
    if sweep.tokens and job.policy == "bon":
        kind = np.where(right, 3, rng.integers(4, 40, size=len(prompt)))
        others = rng.integers(4, 40, size=(len(prompt), sweep.tokens - 3))
        samples["token_ids"] = [[1, *of, 2] for of in np.column_stack([kind, others]).tolist()]
    scores = {"gold": content + form, "proxy": proxy}
    if job.half != "both":
        followed = trait - truth.parted.get(job.rm, 0.0) * np.maximum(shift - 2, 0)
        scores["test"] = 4 * (0.5 * capacity * right + followed + 0.3 * rng.normal(size=len(prompt)))
    if sweep.parts:
        scores |= {"gold.content": content, "gold.form": form}
        liked = h if truth.faults_are_liked else np.roll(h, 1)  # of another answer
        scores |= {"gold.insult": liked > 1, "gold.claim": np.where(right, 1.0, -1.0)}
        scores |= {"gold.confidence": -(liked > 1).astype(float), "gold.agreement": np.zeros_like(h)}
    return samples, {name: value.astype(np.float32) for name, value in scores.items()}


def only(*cells: Cell, name: str, questions: int = 64, truth: Truth | None = None) -> Sweep:
    """A sweep of these cells alone."""
    alone = {"rms": (), "few_pairs": False, "control": False}
    return Sweep(name=name, questions=questions, truth=truth or Truth(), cells=cells, **alone)
