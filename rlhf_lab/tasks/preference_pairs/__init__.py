"""Real comparisons of two answers as a task: a reader of the usual formats, and the task's files."""
