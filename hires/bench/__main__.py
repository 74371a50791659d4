"""The child process of a benchmark: ``python -m hires.bench``, asked over its standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hires.bench.worker import serve
from hires.utils.memory import manage_heap
from hires.utils.openmp import bound_waiting

if TYPE_CHECKING:
    from hires.bench.exercise import Exercise


def build(fields: dict[str, Any]) -> Exercise:
    """Set up what a request asks for: a case, the machine's own rates, checks, kernels."""
    # They load torch, which must find the process set up.
    from hires.bench.cases import case_from_json
    from hires.bench.checks import CheckExercise
    from hires.bench.exercises import LadderExercise, StepExercise
    from hires.bench.kernels import KernelExercise
    from hires.bench.roofline import RooflineExercise

    if fields.get("kind") == "roofline":
        return RooflineExercise(fields["device"], fields["precisions"])
    surveys = {"checks": CheckExercise, "kernels": KernelExercise}
    if fields.get("kind") in surveys:
        return surveys[fields["kind"]](fields["device"], small=fields["small"])
    case = case_from_json(fields)
    return LadderExercise(case) if case.kind == "ladder" else StepExercise(case)


if __name__ == "__main__":
    manage_heap()
    bound_waiting()
    serve(build)
