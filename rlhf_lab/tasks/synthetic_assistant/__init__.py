"""The embedded task: a world of facts and sums, prompts about it, and a grammar of good and bad answers.

world, phrases -> framings (prompts) -> grammar (answers) -> corpus (the task's files) -> opinions
"""
