"""``hires deliver``: a finished painting for a lab, or to keep."""

from __future__ import annotations

from hires.config.deliver import DeliverJob
from hires.runs.deliver import deliver


def run(job: DeliverJob) -> int:
    """Save it, and tell what it is."""
    done = deliver(job)
    if not job.quiet:
        height, width = done.size
        layout = done.layout
        sheet = "" if layout is None else f", {layout.sheet}"
        ink = "" if done.ink is None else f", {done.ink}"
        print(f"{done.path}: {width}x{height}{sheet}{ink}")
    return 0
