"""A job from its files to its file, and what a run leaves behind.

`planning` decides on everything once, `paint` paints and saves; `recorder` keeps the run directory:
its `record`, `trace` and `page`, and the checkpoints in `directory`, which `claim` finds and opens.
"""
