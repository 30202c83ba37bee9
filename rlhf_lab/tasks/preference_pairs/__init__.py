"""Real comparisons of two answers as a task: a reader of the usual formats, and the task's files."""

from rlhf_lab.tasks.preference_pairs.corpus import write
from rlhf_lab.tasks.preference_pairs.reader import Read, read
from rlhf_lab.tasks.preference_pairs.rows import Comparison

__all__ = ["Comparison", "Read", "read", "write"]
