"""The ways to measure, one a file, found by the file's name: `measure(bench, *, options) -> Measured`.

What is measured by them (data, prompts, options) is said by the cards in `diptych.evaluation.cards`.
"""
