"""Trained models that come with the package. No torch."""

from __future__ import annotations

from importlib import resources

from hires.config.feedforward import MODEL_ENDING


def built_in_models() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    names = [file.name for file in resources.files(__name__).iterdir()]
    return tuple(
        sorted(name.removesuffix(MODEL_ENDING) for name in names if name.endswith(MODEL_ENDING))
    )
