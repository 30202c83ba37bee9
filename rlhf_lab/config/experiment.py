"""One experiment: all of its parts, and what must hold between them."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_lab.config import checks
from rlhf_lab.config.combination import (
    Combination,
    Constrained,
    Ensemble,
    Form,
    Seeds,
    Several,
    Single,
    WeightAverage,
)
from rlhf_lab.config.intervention import Intervention
from rlhf_lab.config.labelers import Labeler, Mixture, Pool, WrittenPreferences
from rlhf_lab.config.models import SFT, Half, Model, RewardInit, RewardModel, ScratchModel
from rlhf_lab.config.online import Online, Penalised
from rlhf_lab.config.policies import BestOfN, ExpertIteration, Policy, Untrained
from rlhf_lab.config.reward import GivenReward, GoldReward, Reward
from rlhf_lab.config.runtime import Runtime, Tracker
from rlhf_lab.config.shaping import NoShaping, Shaping
from rlhf_lab.config.tasks import EMBEDDED, FieldGuide, SyntheticAssistant, Task

AROUND_AN_ANSWER = 30  # tokens of a question, a second turn and the marks of three turns


@dataclass(slots=True)
class Score:
    """What scores the stored samples beside gold and the proxy."""

    # Further judges as `module:function`; a function takes prompts and answers and returns a number for each
    # answer.
    extra: list[str]
    # Whether the columns `behaviour.<name>` are recorded: how answers behave towards the user (embedded
    # task).
    behaviour: bool
    # Whether the column `utility` is recorded: what an answer is worth to the labeler, without noise
    # (embedded task).
    utility: bool
    # Whether hidden states of the evaluated policy at the end of each prompt are recorded, for probes.
    activations: bool
    # Whether the column `test` is recorded: rewards of the same reward model trained on the other half of the
    # questions (2204.05862, Figure 4).
    other_half: bool
    # Number of the policy's own answers to each plain question after which it is doubted and asked again; 0
    # is none.
    second_turns: int

    def __post_init__(self) -> None:
        """Check ranges."""
        checks.check(self, "second_turns", self.second_turns >= 0, ">= 0", "it is a count")
        texts = all(isinstance(judge, str) for judge in self.extra)
        checks.check(self, "extra", texts, "a list of module:function", "judges are functions of a module")


@dataclass(slots=True)
class Experiment:
    """One run: everything from the task to the scores of one policy."""

    task: Task  # The source of prompts, demonstrations and the gold reward.
    model: Model  # The language model of the policy. Sizes are numbers of non-embedding parameters.
    # Supervised fine-tuning on demonstrations. Its result is the initial policy and the reference of the KL.
    sft: SFT
    intervention: Intervention  # Further fine-tuning of the SFT model before everything else.
    # Comparisons of answers to training prompts, from which the reward model learns.
    preferences: WrittenPreferences
    labeler: Labeler  # The labeler: the rule that says which answer of a pair is better.
    rm: RewardModel  # The proxy reward: a reward model, and the language model that it starts from.
    rm_combination: Combination  # One reward model, or several and how their rewards become one.
    reward: Reward  # What the policy optimises: the proxy, or in a control run gold itself or noise.
    reward_shaping: Shaping  # What the policy optimises instead of the proxy reward itself.
    policy: Policy  # The method that optimises the proxy reward, and how it is evaluated.
    score: Score  # What scores the stored samples beside gold and the proxy.
    tracker: Tracker  # A mirror of the records in another tool; it is never read.
    runtime: Runtime  # How stages run. Nothing here changes a result, and no key depends on it.

    def __post_init__(self) -> None:
        """Check what holds between parts."""
        for labeler in (self.labeler, *self.labeler.parts()):
            if not isinstance(self.task, labeler.TASKS):
                named = " or ".join(kind.__name__ for kind in labeler.TASKS)
                raise ValueError(
                    f"the labeler {type(labeler).__name__} labels {named}, the task is {type(self.task).__name__}: "
                    "choose another labeler or task"
                )
        if isinstance(self.task, FieldGuide):
            self._check_rows()
        if isinstance(self.reward, GivenReward):
            self._check_given(self.reward)
        if isinstance(self.policy, Untrained) and (self.score.second_turns or self.score.activations):
            raise ValueError(
                f"score.second_turns and score.activations read the policy's model, and {type(self.policy).__name__} "
                "has no model of its own: leave them out"
            )
        if not isinstance(self.reward_shaping, NoShaping):
            self._check_shaping()
        self.intervention.check(self.task)
        if (self.score.behaviour or self.score.utility) and not isinstance(self.task, EMBEDDED):
            raise ValueError(
                f"score.behaviour and score.utility come from the embedded task's rubric, and the task is "
                f"{type(self.task).__name__}: set both to false"
            )
        if self.score.utility and isinstance(self.labeler, (Pool, Mixture)):
            raise ValueError(
                f"score.utility=true asks what an answer is worth to one labeler, and {type(self.labeler).__name__} is "
                "several: set it to false"
            )
        if self.score.other_half and (
            self.rm.half is Half.both or not isinstance(self.rm_combination, Single)
        ):
            raise ValueError(
                "score.other_half=true needs one reward model that learned from half of the questions: set "
                "rm.half=first and rm_combination=single"
            )
        if self.score.second_turns:
            self._check_second_turns()
        if isinstance(self.rm_combination, Constrained):
            self._check_constraints(self.rm_combination)
        if isinstance(self.rm_combination, WeightAverage) and self.rm.init is RewardInit.scratch:
            raise ValueError(
                "rm_combination=warm averages weights of models with one initialisation, and rm.init=scratch "
                "gives each its own: set rm.init=lm or sft"
            )
        if isinstance(self.rm_combination, Several) and self.rm_combination.seeds is Seeds.pretrain:
            scratch = isinstance(self.rm.model, ScratchModel) and self.rm.init is RewardInit.lm
            if not scratch:
                raise ValueError(
                    "rm_combination.seeds=pretrain needs language models that are trained here (rm.init=lm, not "
                    "rm=pretrained): members differ in the seeds of these"
                )

    @property
    def uses_gold(self) -> bool:
        """Whether the true reward has a say in what the policy becomes or chooses."""
        return self.policy.USES_GOLD or self.reward.USES_GOLD

    def _check_rows(self) -> None:
        """Refuse language models of the field guide that read several documents in a row, as other tasks' do."""
        models = {"model": self.model, "rm.model": self.rm.model, "preferences.model": self.preferences.model}
        for name, model in models.items():
            if isinstance(model, ScratchModel) and model.packed:
                raise ValueError(
                    f"{name}.packed=true, and a language model of the field guide learns from one document in a row: "
                    f"use a size with settings of this task (conf/model/by_task), or set {name}.packed=false and the "
                    "other values of such a file"
                )

    def _check_given(self, reward: GivenReward) -> None:
        """Refuse what only a learned reward has."""
        name = type(reward).__name__
        if "pairs" in self.policy.NEEDS:
            raise ValueError(
                f"{type(self.policy).__name__} learns from comparisons and never sees a reward, so {name} changes "
                "nothing: use reward=learned"
            )
        learns_here = isinstance(self.policy, (Online, ExpertIteration)) and "." not in self.policy.STAGE
        if "proxy" in self.policy.NEEDS and not learns_here:
            raise ValueError(
                f"{type(self.policy).__name__} is another package's method, which takes its reward from reward models "
                f"alone, and {name} is none: use reward=learned"
            )
        if not (isinstance(self.rm_combination, Single) and isinstance(self.reward_shaping, NoShaping)):
            raise ValueError(
                f"{name} is optimised as it is: use rm_combination=single and reward_shaping=none with it"
            )
        if self.score.other_half or (self.score.second_turns and isinstance(self.policy, BestOfN)):
            raise ValueError(
                f"score.other_half and second turns of best-of-n need a reward model, and {name} is none: leave them "
                "out, or use reward=learned"
            )
        if isinstance(reward, GoldReward) and reward.parts and not isinstance(self.task, EMBEDDED):
            raise ValueError(
                f"reward.parts are of the embedded task's rubric, and the task is {type(self.task).__name__}: use "
                "reward.parts=[], which is gold as a whole"
            )

    def _check_shaping(self) -> None:
        """Refuse a shaping from which the policy does not learn and which no rule of selection sees."""
        shaping, policy = self.reward_shaping, self.policy
        if "proxy" in policy.NEEDS or (isinstance(policy, BestOfN) and shaping.REORDERS):
            return
        raise ValueError(
            f"reward_shaping={type(shaping).__name__} changes what a policy learns from, and "
            f"{type(policy).__name__} learns from no proxy: use reward_shaping=none"
        )

    def _check_constraints(self, constrained: Constrained) -> None:
        """Refuse constraints where no multipliers are trained, or where their form cannot work."""
        policy = self.policy
        if not isinstance(policy, Penalised):
            who = "a rule of selection" if isinstance(policy, BestOfN) else type(policy).__name__
            raise ValueError(
                f"rm_combination=constrained needs policy=ppo (or grpo/rloo); {who} has no multipliers"
            )
        if not isinstance(self.reward_shaping, NoShaping):
            raise ValueError(
                "reward_shaping is of one reward, and rm_combination=constrained weighs each member's: use "
                "reward_shaping=none"
            )
        if constrained.form is Form.mu and policy.kl_coef == 0:
            raise ValueError(
                "rm_combination.form=mu never lowers rewards, and with policy.kl_coef=0 nothing else does: set "
                "policy.kl_coef above 0, or form=xi"
            )

    def _check_second_turns(self) -> None:
        """Refuse second turns without words of doubt in the task, room in the prompt, or a policy that answers them."""
        task, policy = self.task, self.policy
        if not isinstance(task, SyntheticAssistant) or not task.challenges:
            raise ValueError(
                "score.second_turns doubts answers in words that only task.challenges=true adds: use "
                "task=every_family, or score.second_turns=0"
            )
        needed = task.answer_tokens + AROUND_AN_ANSWER
        if task.prompt_tokens < needed:
            raise ValueError(
                f"score.second_turns puts a question, an answer and a second turn into one prompt, and "
                f"task.prompt_tokens={task.prompt_tokens} does not hold them: set it to {needed} or more"
            )
        if not isinstance(policy, BestOfN):
            return
        several = isinstance(self.rm_combination, Ensemble) or not isinstance(self.reward_shaping, NoShaping)
        if type(policy) is not BestOfN or several or policy.samples < 8:
            raise ValueError(
                "score.second_turns works with trained policies and best-of-n (n = policy.samples / 4, 2 or more) by "
                "one reward model: use policy=bon policy.samples=8 or more, rm_combination=single or warm, and "
                "reward_shaping=none"
            )
