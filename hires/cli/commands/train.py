"""``hires train``: train a feed-forward network, show how it goes, save it whatever happens."""

from __future__ import annotations

from pathlib import Path

from hires.cli.arguments.networks import Train
from hires.cli.display import losses, open_display
from hires.cli.exits import EXIT_INTERRUPTED, tell
from hires.config.values import counted
from hires.feedforward.training_job import TrainingJob


def run(job: Train) -> int:
    """Train and save."""
    training = TrainingJob(
        job.config,
        style=None if job.style is None else Path(job.style),
        folders=[Path(folder) for folder in job.images],
        output=Path(job.output),
        samples=[Path(sample) for sample in job.samples],
        resume=job.resume,
    )
    for warning in training.trainer.perceptual_loss.warnings:
        tell("hires", f"warning: {warning}")
    try:
        with open_display(quiet=job.quiet) as display:
            for report in training.train(job.save_every):
                steps = f"step {report.step}/{report.num_steps}"
                display.tell(report.step / report.num_steps, steps, losses(report.terms))
    except KeyboardInterrupt:
        if not training.trainer.done:
            raise
        tell("hires", f"interrupted: {job.output} holds the model so far; --resume goes on")
        return EXIT_INTERRUPTED
    finally:
        _tell_skipped(training)
    if not job.quiet:
        print(f"{job.output}: {counted(training.trainer.done, 'step')} in {training.seconds:.0f} s")
    return 0


def _tell_skipped(training: TrainingJob) -> None:
    if training.photographs.passed_over:
        tell("hires", f"warning: {training.photographs.passed_over}")
    skipped = training.photographs.skipped
    if skipped:
        path, reason = next(iter(skipped.items()))
        count = f"{len(skipped)} of {len(training.photographs.paths)} files"
        tell("hires", f"warning: skipped {count} that cannot be read, {path.name}: {reason}")
