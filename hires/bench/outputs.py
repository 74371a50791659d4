"""A report as files: JSON alone, or a folder with JSON, Markdown and plots."""

from __future__ import annotations

from pathlib import Path

from hires.bench import plots
from hires.bench.report import Report, markdown, save
from hires.errors import ConfigError


def check_output(output: Path) -> None:
    """Refuse before the measuring what could not be written after it.

    Args:
        output: a file that ends in ``.json``, or a folder (made if need be).

    Raises:
        ConfigError: if it cannot be one.
    """
    if _is_file(output):
        if not output.parent.is_dir():
            raise ConfigError(f"output '{output}': there is no folder '{output.parent}'")
    elif output.exists() and not output.is_dir():
        raise ConfigError(f"output '{output}': write NAME.json or a folder")


def write(report: Report, output: Path) -> tuple[tuple[Path, ...], str]:
    """Write ``bench.json``, ``bench.md``, ``time.png`` and ``memory.png``, or one ``.json``.

    Returns:
        The paths written, and a notice to pass on (empty if all went well): without matplotlib the
        plots are left out.
    """
    if _is_file(output):
        save(report, output)
        return (output,), ""
    output.mkdir(parents=True, exist_ok=True)
    data, text = output / "bench.json", output / "bench.md"
    save(report, data)
    text.write_text(markdown(report), encoding="utf-8")
    try:
        return (data, text, *plots.draw(report, output)), ""
    except ConfigError as error:
        return (data, text), str(error)


def _is_file(output: Path) -> bool:
    return output.suffix.lower() == ".json"
