"""Time, memory and achieved arithmetic of this machine: the library behind ``hires bench``.

A room of its own with its own order, each module importing only from those before it: `cases` (what
is measured), `work` (its arithmetic), `stopwatch`, `worker` (a child process that does it),
`exercises` and `roofline` (what the child does), `report` (results as JSON, tables, ratios), `runs`
(from cases to a report), `plots`, `outputs`.
"""
