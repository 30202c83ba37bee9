"""Cases of bad input: a command, a pattern of the line that it must print, and the files that it names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

from dialogues import rows, save

from rlhf_lab.config.labelers import Labeler
from rlhf_lab.config.registry import option
from rlhf_lab.config.tasks import PairFile

COMMIT = "f" * 40
Make = Callable[[Path], object]


class Case(NamedTuple):
    command: str
    line: str  # a pattern that the printed line must contain
    make: Make = lambda folder: None  # writes the files that the command names into its working folder
    alone: bool = False  # whether the command needs a process of its own


def file(name: str, contents: str | bytes) -> Make:
    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)

    return make


def pairs(*lines: object) -> Make:
    return lambda folder: save(folder / "pairs", lines)


def pair(chosen: str, rejected: str, question: int = 0) -> dict[str, str]:
    return {"prompt": f"Question {question}?", "chosen": chosen, "rejected": rejected}


def edited(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoiled(spoil: Callable[[Path], object], kind: str = "llama") -> Make:
    """Return what copies a checkpoint to the folder `given` and spoils it."""

    def make(folder: Path) -> None:
        shutil.copytree(CHECKPOINTS[kind], folder / "given")
        spoil(folder / "given")

    return make


CHECKPOINTS: dict[str, Path] = {}
WEIGHTS = "model.safetensors"
CODE = {"AutoModelForCausalLM": "modeling_own.OwnModel"}
PAIRS = "rlhf-lab task=preference_pairs task.path=pairs"
GIVEN = "rlhf-lab model=pretrained model.path=given"
MINE = "rlhf-lab --config-dir mine"
RM = "defaults:\n  - 3k\n  - _self_\n"


@dataclass(slots=True)
class Clerk(Labeler):
    """A labeler that can only repeat people's choices."""

    TASKS: ClassVar[tuple[type, ...]] = (PairFile,)


def clerk(folder: Path) -> None:
    option("labeler", "clerk")(Clerk)
    file("mine/labeler/clerk.yaml", "defaults:\n  - /schema/labeler@_here_: clerk\n")(folder)


def lost_shard(given: Path) -> None:
    index = {"weight_map": {"lm_head.weight": "model-2.safetensors", "norm.weight": WEIGHTS}}
    (given / "model.safetensors.index.json").write_text(json.dumps(index))


WORDS = {
    "misspelt group": Case("rlhf-lab rmm=3k", r"no key 'rmm': did you mean rm\?"),
    "misspelt option": Case("rlhf-lab rm=3kk", r"no rm '3kk': did you mean 3k\?"),
    "a number for an option": Case("rlhf-lab rm=25", r"no rm '25': did you mean 25k\?"),
    "a number among options": Case("rlhf-lab rm=1k,25", r"no rm '25': did you mean 25k\?"),
    "a number for a replicate": Case("rlhf-lab replicate=5", r"no replicate '5'"),
    "no option": Case("rlhf-lab policy=null", r"no policy 'null'"),
    "a range of options": Case("rlhf-lab model=range(1,3)", r"no model 'range"),
    "a list for an option": Case("rlhf-lab policy=[ppo]", r"no policy '\[ppo\]': did you mean ppo\?"),
    "keys for an option": Case("rlhf-lab policy={ppo:1}", r"no policy '\{ppo:1\}'"),
    "misspelt study": Case("rlhf-lab experiment=quickstrat", r"did you mean quickstart\?"),
    "a glob of no option": Case("rlhf-lab rm=glob(zz*)", r"rm=glob\(zz\*\): a sweep over no value"),
    "a glob of values": Case("rlhf-lab sft.lr=glob(*)", "a sweep over no value"),
    "an empty range": Case("rlhf-lab sft.lr=range(1,0)", "a sweep over no value"),
    "a range without end": Case("rlhf-lab sft.lr=range(1,2,0)", "a sweep over no value|must not be zero"),
    "no keys": Case("rlhf-lab labeler=flawed labeler.flaws={}", "changes nothing, as keys are merged"),
    "a number for true": Case("rlhf-lab score.behaviour=2", "score.behaviour: expected true or false, got 2"),
    "a number for true in the parent": Case(
        "rlhf-lab runtime.plan=2", "runtime.plan: expected true or false"
    ),
    "keys for a judge": Case("rlhf-lab score.extra=[{a:1}]", "score.extra must be a list of module:function"),
    "no end of minutes": Case("rlhf-lab runtime.checkpoint_minutes=inf", "must be >= 0 and finite"),
    "too many threads": Case("rlhf-lab runtime.threads=100000", "runtime.threads must be <= 1024"),
    "labels turned round": Case("rlhf-lab rm.smoothing=1", r"rm.smoothing must be in \[0, 0.5\)"),
    "no project": Case("rlhf-lab tracker=wandb tracker.project=", "tracker.project must be a name"),
    "a project that W&B refuses": Case('rlhf-lab tracker=wandb tracker.project="a/b"', "without any of"),
    "a key of another option": Case("rlhf-lab policy.clp=1", r"did you mean policy.clip\?"),
    "overrides around a flag": Case(
        "rlhf-lab rm=3k --cfg job policy=ppo", "policy=ppo: stands apart from other"
    ),
    "a group given twice": Case(
        "rlhf-lab rm=3k rm=25k", "rm=3k rm=25k: one key, two values: give one, or a sweep"
    ),
    "a key given twice": Case(
        "rlhf-lab sft.steps=1 rm=3k sft.steps=2", "sft.steps=1 sft.steps=2: one key, two"
    ),
    "a key given twice to a question": Case(
        "rlhf-lab --cfg job sft.steps=1 sft.steps=2", "one key, two values"
    ),
    "a search path": Case("rlhf-lab hydra.searchpath=[file:///etc]", "give the folder with --config-dir"),
    "a number for a launcher": Case("rlhf-lab hydra.launcher=5", "a launcher is chosen by name"),
    "no sweeper": Case("rlhf-lab hydra.sweeper=null", "chosen by name"),
    "an environment to copy": Case("rlhf-lab hydra.job.env_copy=[A]", "no key chooses the environment"),
    "lists for phrases": Case(
        "rlhf-lab policy=ppo reward_shaping=agreement_penalty reward_shaping.phrases=[[/i]]",
        "phrases must be",
    ),
    "one step on pairs": Case(
        "rlhf-lab policy=dpo policy.batch=100000", "is one step of policy.batch=100000"
    ),
    "nothing to learn": Case("rlhf-lab policy=ppo policy.steps=1", "policy.steps must be > 1 with a warm-up"),
    "nothing held out": Case("rlhf-lab task.heldout_share=1e-300", "holds out 0 of 230 questions"),
    "everything held out": Case("rlhf-lab task.heldout_share=0.9999999999", "holds out 230 of 230 questions"),
    "misspelt labeler": Case("rlhf-lab labeler=boltzman", r"no labeler .*did you mean boltzmann\?"),
    "misspelt key": Case(
        "rlhf-lab preferences.pair=10", r"no key 'preferences.pair': did you mean preferences.pairs\?"
    ),
    "misspelt part": Case("rlhf-lab polcy.seed=1", r"did you mean policy.seed\?"),
    "misspelt experiment": Case("rlhf-lab experiment=tinny", r"no experiment .*did you mean tiny\?"),
    "misspelt experiment in the other spelling": Case(
        "rlhf-lab +sweeps=quickstrt", r"no experiment .*did you mean quickstart\?"
    ),
    "sweeps for experiment": Case(
        "rlhf-lab sweeps=quickstart", r"sweeps=quickstart: write experiment=quickstart"
    ),
    "misspelt sweep": Case("rlhf-lab experiment=quickstrt", r"no experiment .*did you mean quickstart\?"),
    "misspelt launcher": Case("rlhf-lab hydra/launcher=jobib", r"did you mean joblib\?"),
    "misspelt flag": Case("rlhf-lab --multirn rm=3k", r"no flag --multirn: did you mean --multirun\?"),
    "flag that needs another": Case("rlhf-lab --resolve rm=3k", r"--resolve says how --cfg prints values"),
    "misspelt value of a flag": Case("rlhf-lab --cfg jobs", r"--cfg/-c: invalid choice: 'jobs'"),
    "misspelt stage": Case(
        "rlhf-lab runtime.force=[rewards]", "no stage 'rewards'; there are base, preferences"
    ),
    "the console": Case(
        "rlhf-lab polcy=ppo", r"^rlhf-lab: no key 'polcy': did you mean policy\?$", alone=True
    ),
    "no value": Case("rlhf-lab rm", "rm: expected key=value or group=option"),
    "no key": Case("rlhf-lab =3", "=3: expected key=value or group=option"),
    "unclosed bracket": Case(
        "rlhf-lab policy.seed=range(3", r"policy.seed=range\(3: cannot be read: expected"
    ),
    "added key": Case("rlhf-lab +typo=1", r"\+typo=1: no key can be added"),
    "forced key": Case("rlhf-lab ++sft.step=1", r"no key can be added: did you mean sft.steps\?"),
    "removed key": Case("rlhf-lab ~sft.steps", "no key can be removed; give it a value with sft.steps="),
    "needless plus": Case("rlhf-lab +rm.seed=1", "write rm.seed="),
    "two sweeps": Case("rlhf-lab experiment=quickstart,gao2022_fig1", "one experiment at a time"),
    "two experiments": Case("rlhf-lab +sweeps=quickstart experiment=tiny", "one experiment at a time"),
    "a sweep over an interval": Case("rlhf-lab sft.lr=interval(0,1)", "a sweep needs a list of values"),
    "no folder of options": Case(f"{MINE} rm=3k", "config directory .*mine' not found"),
    "misspelt figure": Case("rlhf-figures quikstart", r"no figure .*did you mean quickstart\?"),
    "misspelt sweep of a figure": Case("rlhf-figures quickstart --sweep adhok", r"did you mean adhoc\?"),
    "misspelt option of figures": Case(
        "rlhf-figures --swep adhoc", r"no option '--swep': did you mean --sweep\?"
    ),
    "figures in a process": Case("rlhf-figures gao2022", "did you mean gao2022_fig", alone=True),
    "misspelt sweep of runs": Case(
        "rlhf-runs --sweep adhok", r"^rlhf-runs: no runs of .*did you mean adhoc\?$"
    ),
    "misspelt option of runs": Case("rlhf-runs --stre", r"no option '--stre': did you mean --store\?"),
    "misspelt command of runs": Case("rlhf-runs shw abc", "invalid choice: 'shw'"),
    "no such run": Case("rlhf-runs show zzz", "'zzz' is not a run; rlhf-runs lists them"),
}
VALUES = {
    "text for a number": Case("rlhf-lab sft.lr=high", "sft.lr: expected a number, got 'high'"),
    "fraction for a count": Case("rlhf-lab sft.steps=1.5", "sft.steps: expected a whole number, got '1.5'"),
    "word for a switch": Case("rlhf-lab runtime.plan=maybe", "expected true or false, got 'maybe'"),
    "null": Case("rlhf-lab policy.seed=null", "policy.seed=null: null is not a value of this key"),
    "option for a part": Case("rlhf-lab rm.model=25k", r"rm.model: expected keys of its own \(rm.model.KEY"),
    "word of no enum": Case("rlhf-lab rm.init=lmm", r"rm.init: Invalid value 'lmm', expected one of \[lm, sft"),
    "too large a share": Case(
        "rlhf-lab labeler=flip labeler.rate=1.5", r"labeler.rate must be in \[0, 1\], got 1.5: it is a share"
    ),
    "all held out": Case("rlhf-lab task.heldout_share=1", "task.heldout_share must be between 0 and 1, got 1.0: both"),
    "negative count": Case("rlhf-lab sft.steps=-3", "sft.steps must be >= 0, got -3"),
    "negative seed": Case("rlhf-lab policy.seed=-1", r"policy.seed must be in 0 .. 2\^32 - 1, got -1"),
    "negative penalty": Case("rlhf-lab policy=ppo policy.kl_coef=-1", "it is the weight of a cost"),
    "infinite rate": Case("rlhf-lab sft.lr=inf", "sft.lr must be finite, got inf"),
    "no number": Case("rlhf-lab policy=ppo policy.kl_coef=nan", "policy.kl_coef must be >= 0 and finite, got nan"),
    "unequal batches": Case(
        "rlhf-lab policy=ppo policy.minibatches=3", "policy.rollout must be a multiple of minibatches, got 128"
    ),
    "odd heads of a reward model": Case("rlhf-lab rm.model.hidden=10", "rm.model.hidden must be a multiple of"),
    "odd heads": Case("rlhf-lab model.hidden=10", " model.hidden must be a multiple of 2 x heads, got 10"),
    "no name for the store": Case("rlhf-lab runtime.store=", "runtime.store must be the name of a folder"),
    "more facts than names": Case("rlhf-lab task.entities=500", "must be at most 40 and 10, got 500 and 6"),
    "more sums than there are": Case("rlhf-lab task.sums=9999", "task.sums must be at most"),
    "missing path of a model": Case("rlhf-lab model=pretrained", "model.path needs a value: give model.path="),
    "missing path of a task": Case("rlhf-lab task=preference_pairs", "task.path needs a value"),
    "key of another method": Case(
        "rlhf-lab policy.kl_coef=0.1", "no key 'policy.kl_coef' here: policy=grpo|ppo|rloo has one; it has seed"
    ),
    "key of another tracker": Case("rlhf-lab tracker.project=x", "tracker=wandb has one"),
    "constraints under a rule of selection": Case(
        "rlhf-lab rm_combination=constrained",
        r"constrained needs policy=ppo \(or grpo/rloo\); a rule of selection has no multipliers",
    ),
    "constraints without a rewarded policy": Case(
        "rlhf-lab rm_combination=constrained policy=online_dpo", "grpo/rloo.; OnlineDPO has no multipliers"
    ),
    "a floor and nothing that pulls down": Case(
        "rlhf-lab rm_combination=constrained rm_combination.form=mu policy=ppo",
        "set policy.kl_coef above 0, or form=xi",
    ),
    "constraints on a shaped reward": Case(
        "rlhf-lab rm_combination=constrained policy=ppo reward_shaping=par", "use reward_shaping=none"
    ),
    "too many thresholds": Case(
        "rlhf-lab rm_combination=constrained policy=ppo rm_combination.thresholds=[1,2]",
        r"rm_combination.thresholds must be one number or 5, got \[1.0, 2.0\]: each member has one",
    ),
    "an intervention on real comparisons": Case(
        "rlhf-lab task=preference_pairs task.path=good intervention=synthetic_data",
        "of the embedded task, and the task is PreferencePairs: use intervention=none",
        lambda folder: save(folder / "good", rows(60)),
    ),
    "an intervention on tagged prompts": Case(
        "rlhf-lab task=supervised intervention=synthetic_data", "task.tags=true marks every prompt: use"
    ),
    "more than all demonstrations": Case(
        "rlhf-lab task=every_family task.deference=1.5", r"task.deference must be in \[0, 1\], got 1.5"
    ),
    "best of one": Case("rlhf-lab policy.samples=1", r"must be >= 2, got 1: the curve goes up to n = samples"),
    "best of more than samples": Case("rlhf-lab policy.n=512", "no key 'policy.n': there are prompts, samples"),
    "labeler of another task": Case(
        f"{MINE} labeler=clerk", "Clerk labels PairFile, the task is SyntheticAssistant", clerk
    ),
    "one bad job of three": Case(
        "rlhf-lab -m labeler=flip labeler.rate=0,2,0.5", r"got 2.0: .* \(job: labeler=flip labeler.rate=2\)$"
    ),
    "one bad job by its option": Case("rlhf-lab -m rm=3k,25kk", r"did you mean 25k\? \(job: rm=25kk\)$"),
    "one bad job by its data": Case(
        "rlhf-lab -m task=preference_pairs task.path=good,pairs",
        r"pairs: the file is empty.* \(job: task=preference_pairs task.path=pairs\)$",
        lambda folder: (save(folder / "good", rows(60)), save(folder / "pairs", [])),
    ),
    "missing device": Case("rlhf-lab runtime.device=cuda:77", "runtime.device=cuda:77: torch .* finds no such"),
    "unknown device": Case("rlhf-lab runtime.device=tpu", "finds no such device here, only cpu"),
    "missing judge": Case("rlhf-lab score.extra=[nowhere:judge]", "nowhere is not a module with a file"),
    "judge without a function": Case("rlhf-lab score.extra=[json]", "expected module:function"),
    "misspelt judge": Case(
        "rlhf-lab score.extra=[own:jugde]", "found no judge 'own:jugde': .*own.py does not contain jugde",
        file("own.py", "def judge(prompts, answers):\n    return [0.0 for _ in answers]\n"),
    ),
}  # fmt: skip
DATA = {
    "missing file": Case(PAIRS, "found no file or folder 'pairs': give an existing path"),
    "folder for a file": Case(PAIRS, "found a folder, expected a file", lambda f: (f / "pairs").mkdir()),
    "empty file": Case(PAIRS, "pairs: the file is empty, expected one JSON object a line", file("pairs", "\n")),
    "not JSON": Case(PAIRS, r"line 2: not JSON \(", file("pairs", json.dumps(pair("a", "b")) + "\n[1, 2")),
    "not UTF-8": Case(PAIRS, "byte 12 is not UTF-8", file("pairs", b'{"chosen": "\xff"}')),
    "damaged gzip": Case(PAIRS, "the gzip data are damaged", file("pairs", b"\x1f\x8b broken")),
    "no object": Case(PAIRS, "line 1: found a list, expected an object", pairs([1, 2])),
    "without chosen": Case(PAIRS, r"line 1: found no `chosen` \(fields: question\)", pairs({"question": "a"})),
    "without rejected": Case(PAIRS, r"found no `rejected` \(fields: chosen\)", pairs({"chosen": "a"})),
    "number for an answer": Case(PAIRS, "found a int in `chosen`", pairs({"chosen": 3, "rejected": "b"})),
    "list for an answer": Case(
        PAIRS, "found a message without text in `chosen`", pairs({"chosen": ["a"], "rejected": "b"})
    ),
    "unknown role": Case(
        PAIRS, "found the role 'bot' in `chosen`, expected one of system, user, assistant",
        pairs({"chosen": [{"role": "bot", "content": "a"}], "rejected": "b"}),
    ),
    "identical answers": Case(
        PAIRS, r"no usable comparison is left \(2 x chosen and rejected are identical\)", pairs(*[pair("a", "a ")] * 2)
    ),
    "empty answers": Case(PAIRS, r"is left \(1 x empty answer\)", pairs(pair("a", " "))),
    "no dialogues": Case(
        PAIRS, r"\(1 x not a dialogue that ends with an assistant turn\)", pairs({"chosen": "a", "rejected": "b"})
    ),
    "every pair over the limit": Case(
        f"{PAIRS} task.answer_tokens=4",
        "pairs: all 60 pairs are identical within task.answer_tokens=4: raise it",
        pairs(*(pair("long " * 9 + "yes", "long " * 9 + "no", n) for n in range(60))),
    ),
    "control tokens": Case(PAIRS, "60 x an answer or prompt holds a control token", pairs(
        *(pair(f"<eos>{n}", "b", n) for n in range(60)))),
    "one question": Case(PAIRS, "20 training and 0 held-out comparisons, expected some of both", pairs(
        *(pair("a", str(n)) for n in range(20)))),
    "hub data set without a commit": Case(f"{PAIRS}/of_hub task.revision=main", "hub id with revision= its 40-digit"),
    "hub data set while offline": Case(
        f"HF_HUB_OFFLINE=1 {PAIRS}/of_hub task.revision={COMMIT}", "the hub gave no `train` split", alone=True
    ),
}  # fmt: skip
MODELS = {
    "missing checkpoint": Case(GIVEN, "found no file or folder 'given'"),
    "hub id without a commit": Case(f"{GIVEN}/model model.revision=main", "40-digit commit"),
    "hub id while offline": Case(
        f"HF_HUB_OFFLINE=1 {GIVEN}/model model.revision={COMMIT}", "given/model@f{40}: neither a local", alone=True
    ),
    "file for a checkpoint": Case(GIVEN, "given: found a file, expected a folder", file("given", "")),
    "no config.json": Case(GIVEN, "given: found no config.json", spoiled(lambda f: (f / "config.json").unlink())),
    "broken config.json": Case(
        GIVEN, "config.json is not a JSON object", spoiled(lambda f: (f / "config.json").write_text("{"))
    ),
    "deep config.json": Case(
        GIVEN, "config.json is not a JSON object",
        spoiled(lambda f: (f / "config.json").write_text("[" * 200_000)),
    ),
    "deep header of weights": Case(
        GIVEN, "not a whole safetensors file",
        spoiled(lambda f: (f / WEIGHTS).write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000)),
    ),
    "words for the ends of tensors": Case(
        GIVEN, "not a whole safetensors file",
        spoiled(lambda f: (f / WEIGHTS).write_bytes((32).to_bytes(8, "little") + b'{"a":{"data_offsets":[0,"end"]}}')),
    ),
    "an index that is no map": Case(
        GIVEN, "has no map of its weights",
        spoiled(lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": ["a"]}')),
    ),
    "no weights": Case(GIVEN, r"found no weights, expected \*.safetensors", spoiled(lambda f: (f / WEIGHTS).unlink())),
    "pickled weights": Case(
        GIVEN, r"only pickled weights \(pytorch_model.bin\), expected \*.safetensors",
        spoiled(lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin")),
    ),
    "weights cut off": Case(
        GIVEN, "model.safetensors is not a whole safetensors file",
        spoiled(lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9])),
    ),
    "weights of another kind": Case(
        GIVEN, "not a whole safetensors file", spoiled(lambda f: (f / WEIGHTS).write_bytes(b"PK" * 40))
    ),
    "a shard is missing": Case(GIVEN, "found no model-2.safetensors, which", spoiled(lost_shard)),
    "no tokenizer": Case(
        GIVEN, "found no tokenizer", spoiled(lambda f: [path.unlink() for path in f.glob("tokenizer*")])
    ),
    "code of a model's own": Case(
        GIVEN, r"config.json needs code of the checkpoint \(auto_map\), which is never run",
        spoiled(lambda f: edited(f / "config.json", auto_map=CODE)),
    ),
    "code of a tokenizer's own": Case(
        GIVEN, "tokenizer_config.json needs code of the checkpoint",
        spoiled(lambda f: edited(f / "tokenizer_config.json", auto_map=CODE)),
    ),
    "wrong architecture": Case(
        GIVEN, "found a model T5ForConditionalGeneration, expected a causal language model",
        spoiled(lambda f: edited(f / "config.json", architectures=["T5ForConditionalGeneration"])),
    ),
    "a reward model for a policy": Case(
        GIVEN, "found a LlamaForSequenceClassification, expected a causal language model as the policy",
        spoiled(lambda f: None, "reward"),
    ),
    "a language model for a reward model": Case(
        "rlhf-lab rm=pretrained rm.model.path=given rm.epochs=0",
        "found a LlamaForCausalLM for a reward model of 0 epochs", spoiled(lambda f: None),
    ),
    "too short for the task": Case(
        f"{GIVEN} task.prompt_tokens=120", "reads 128 tokens, the task needs 150", spoiled(lambda f: None)
    ),
}  # fmt: skip
FOREIGN = {
    "option that is a path": Case("rlhf-lab rm=../rm/3k", "rm=../rm/3k: an option is a name"),
    "absolute path for an option": Case("rlhf-lab rm=/etc/passwd", "rm=/etc/passwd: an option is a name"),
    "sweep that is a path": Case(
        f"{MINE} experiment=../rm/3k", "experiment=../rm/3k: an option is a name",
        lambda f: (file("mine/experiment/x.yaml", "")(f), file("mine/rm/3k.yaml", "# @package _global_\nsft: {}\n")(f)),
    ),
    "sweep in a folder": Case(
        f"{MINE} experiment=a/b", "experiment=a/b: an option is a name",
        file("mine/experiment/a/b.yaml", "# @package _global_\nsft: {}\n"),
    ),
    "sweep of odd bytes": Case("rlhf-lab experiment=a\x1bb", r"experiment=a\\x1bb: cannot be read"),
    "experiment that is a path": Case("rlhf-lab experiment=../model/3k", "experiment=../model/3k: an option is a name"),
    "path for a sweep of figures": Case("rlhf-figures quickstart --sweep ../runs", "no runs of sweep '../runs'"),
    "path for a sweep of runs": Case("rlhf-runs --sweep /etc", "no runs of sweep '/etc'"),
    "pattern for a sweep of runs": Case("rlhf-runs --sweep *", r"no runs of sweep '\*'"),
    "path for a judge": Case("rlhf-lab score.extra=[../own:judge]", "expected module:function"),
    "class in an option": Case(
        f"{MINE} rm=own", r"mine/rm/own.yaml: _target_ names Python to run \(os.system\)",
        file("mine/rm/own.yaml", RM + "_target_: os.system\n"),
    ),
    "tag in an option": Case(
        f"{MINE} rm=own", "python/object/apply:os.system': YAML cannot name Python",
        file("mine/rm/own.yaml", RM + "seed: !!python/object/apply:os.system ['true']\n"),
    ),
    "callback in an experiment": Case(
        f"{MINE} experiment=own", r"hydra.callbacks.x._target_ names Python to run \(own.Callback\)",
        file("mine/experiment/own.yaml", "# @package _global_\nhydra: {callbacks: {x: {_target_: own.Callback}}}\n"),
    ),
    "launcher of one's own": Case(
        f"{MINE} hydra/launcher=own", r"_target_ names Python to run \(own.Launcher\)",
        file("mine/hydra/launcher/own.yaml", "_target_: own.Launcher\n"),
    ),
    "sweeper of one's own": Case(
        f"{MINE} experiment=own", r"hydra.sweeper._target_ names Python to run \(os.system\)",
        file("mine/experiment/own.yaml", "# @package _global_\nhydra: {sweeper: {_target_: os.system}}\n"),
    ),
    "another sweeper": Case("rlhf-lab hydra/sweeper=basic", "only the sweeper of rlhf-lab plans and records jobs"),
    "misspelt configuration": Case("rlhf-lab --config-name other", "no configuration 'other'"),
    "class of a logger": Case(
        f"{MINE} experiment=own", r"hydra.job_logging.handlers.x.\(\) names Python to run \(own.handler\)",
        file("mine/experiment/own.yaml", "# @package _global_\n"
             "hydra: {job_logging: {handlers: {x: {(): own.handler}}}}\n"),
    ),
    "callback in the jobs of a sweep": Case(
        f"{MINE} experiment=own", "names Python to run",
        file("mine/experiment/own.yaml", "# @package _global_\nhydra: {sweeper: {params: "
             "{+hydra.job_logging.handlers.x.class: own.Handler}}}\n"),
    ),
    "class of a logger in the jobs of a sweep": Case(
        f"{MINE} experiment=own", r"hydra: job_logging.handlers.x.class names Python to run \(own.Handler\)",
        file("mine/experiment/own.yaml", "# @package _global_\nhydra: {sweeper: {params: "
             "{+hydra.job_logging.handlers: '{x: {class: own.Handler}}'}}}\n"),
    ),
    "search path that imports": Case(
        f"{MINE} --config-name own", r"hydra.searchpath.0 names Python to run \(pkg://own\)",
        file("mine/own.yaml", "defaults:\n  - config\n  - _self_\nhydra: {searchpath: ['pkg://own']}\n"),
    ),
    "search path on the command line": Case(
        "rlhf-lab hydra.searchpath=[pkg://own] runtime.plan=true", "names Python to run, which no key can",
        file("own.py", "raise SystemExit('imported')"),
    ),
    "search path in a question": Case(
        "rlhf-lab --cfg job +hydra.searchpath=[pkg://own]", "names Python to run, which no key can",
        file("own.py", "raise SystemExit('imported')"),
    ),
    "a key twice in a cell": Case(
        f"{MINE} experiment=own", "rm=3k rm=25k: one key, two values",
        file("mine/experiment/own.yaml", "# @package _global_\nhydra: {sweeper: {cells: [rm=3k rm=25k]}}\n"),
    ),
    "callback on the command line": Case(
        "rlhf-lab +hydra.callbacks.x._target_=own.Callback", "names Python to run, which no key can"
    ),
    "configuration in a pickle": Case("rlhf-lab --experimental-rerun own.pickle", "would load a pickle"),
    "not YAML": Case(f"{MINE} rm=own", r"own.yaml: not YAML \(line 2: expected", file("mine/rm/own.yaml", "a: [1\n")),
    "misspelt key in YAML": Case(
        f"{MINE} rm=own", r"no key 'rm.epoch': did you mean rm.epochs\?", file("mine/rm/own.yaml", RM + "epoch: 3\n")
    ),
}  # fmt: skip
CASES = {**WORDS, **VALUES, **DATA, **MODELS, **FOREIGN}
