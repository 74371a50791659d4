"""What help says beyond the options: which of them come first, examples, files, environment.

No torch. Classes go by their names; what is not listed for a class is that of its base.
"""

from __future__ import annotations

import inspect

# Fields that most people change: what --help shows of commands with many options.
FIRST: dict[str, tuple[str, ...]] = {
    "Job": (
        *("size", "paper", "preset", "content_weight", "style_scale", "brush_size", "color"),
        *("mask", "iterations", "memory"),
    ),
    "Texture": (
        *("size", "paper", "tileable", "aspect", "preset", "style_scale", "brush_size"),
        *("patch_weight", "iterations", "memory"),
    ),
    "Variations": (
        *("pick", "side", "pictures", "size", "paper", "preset", "content_weight"),
        *("style_scale", "color", "mask"),
    ),
    "MorphJob": (
        *("content", "steps", "size", "frames", "preset", "content_weight", "style_scale"),
        *("color", "iterations", "memory"),
    ),
    "Batch": (
        *("styles", "pattern", "recursive", "shard", "size", "paper", "preset"),
        *("content_weight", "style_scale", "color"),
    ),
    "Plan": (
        *("size", "paper", "dpi", "brush_size", "memory", "device", "texture", "processes"),
        *("no_probe", "json"),
    ),
    "Train": (
        *("steps", "batch_size", "crop", "style_size", "content_weight", "task", "factor"),
        *("resume", "save_every", "device"),
    ),
    "Apply": (
        *("recursive", "overwrite", "mode", "memory", "grain", "bit_depth", "dpi", "deliver"),
        *("icc", "device"),
    ),
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "PaintJob": (
        "hires stylize photo.jpg painting.jpg -o painted.png --size 2048",
        "hires stylize photo.jpg painting.jpg -o poster.pdf --print A2 --bleed 3mm --deliver lab",
        "hires stylize --from painted.png -o again.png --content-weight 0.05",
    ),
    "Texture": ("hires texture painting.jpg -o wallpaper.png --tileable",),
    "Variations": (
        "hires variations photo.jpg painting.jpg -o sheet.jpg",
        "hires variations photo.jpg painting.jpg --pick 7 -o poster.tif --print A2",
    ),
    "MorphJob": ("hires morph first.jpg second.jpg -o strip.jpg --content photo.jpg",),
    "Batch": (
        "hires batch photos --styles first.jpg second.jpg -o painted --size 2048",
        "hires batch jobs.csv -o painted --shard 3/16",
    ),
    "Resume": ("hires resume painted.run",),
    "DeliverJob": ("hires deliver poster.tif -o poster.jpg --deliver lab --icc adobe-rgb",),
    "Plan": (
        "hires plan photo.jpg painting.jpg --print A2",
        "hires plan photo.jpg painting.jpg --size 9933 --json",
    ),
    "Papers": ("hires papers",),
    "Inspect": ("hires inspect poster.tif",),
    "Compare": ("hires compare photo.jpg painting.jpg one.png two.png -o sheet.png",),
    "Doctor": ("hires doctor",),
    "Bench": ("hires bench --sizes 512 1024 --repeats 3 -o measured",),
    "Presets": ("hires presets", "hires presets keras"),
    "Train": (
        "hires train painting.jpg --images photos -o mine.safetensors --steps 4000",
        "hires train --task super-resolution --factor 4 --images photos -o sharp.safetensors",
    ),
    "Apply": (
        "hires apply impasto photo.jpg -o painted.png",
        "hires apply mine.safetensors holiday -o painted --recursive",
    ),
    "Export": ("hires export mine.safetensors mine.onnx",),
    "Serve": ("hires serve --folder paintings --open",),
}

EXIT_CODES = {
    "0": "Done.",
    "1": "The doctor found a fault.",
    "2": "Something to mend: one line on stderr says what.",
    "130": "Interrupted (Ctrl-C, SIGTERM); the picture so far is saved where there is one.",
    "141": "Nobody reads the output.",
}

FILES = {
    "painted.png": "A painting; how it was painted is in the file: hires inspect, --from.",
    "painted.run": "Its run directory: checkpoints while it paints, losses, previews, and"
    " index.html, a page to look at.",
    "mine.safetensors": "A trained model; beside it mine.state, to go on with, mine.jsonl, the"
    " losses, and mine-samples.",
}

ENVIRONMENT = {
    "NO_COLOR": "If set, nothing is printed bold or in colour.",
    "COLUMNS": "Width of help and tables, in place of the terminal's.",
    "CUDA_VISIBLE_DEVICES": "The GPUs that are seen.",
    "OMP_NUM_THREADS": "Threads that a CPU computes with; the last bits depend on it.",
    "GOMP_SPINCOUNT": "How long threads wait awake; set by hires unless you do. OMP_WAIT_POLICY"
    " and KMP_BLOCKTIME count as well.",
    "PYTORCH_ALLOC_CONF": "PyTorch's allocator for GPUs; set by hires unless you do.",
    "HIRES_CUDA_GRAPHS": "1: record steps as CUDA graphs.",
    "RANK, WORLD_SIZE": "Set by torchrun: one painting on several GPUs, or a batch's shares.",
    "SLURM_ARRAY_TASK_ID": "Set by Slurm: which share of a batch to paint.",
    "SOURCE_DATE_EPOCH": "Time that a PDF/X-4 says it was made at.",
}


def first_of(command: type) -> tuple[str, ...]:
    """Fields of a command that --help shows; empty where it shows all.

    A command that is not listed shows its own fields and those of its base.
    """
    own: tuple[str, ...] = ()
    for base in command.__mro__:
        if base.__name__ in FIRST:
            return own + FIRST[base.__name__]
        own += (*inspect.get_annotations(base),) if base.__name__ not in EXAMPLES else ()
    return ()


def examples_of(command: type) -> tuple[str, ...]:
    """Command lines to begin with; none for what is no command of ``hires``."""
    return EXAMPLES.get(command.__name__, ())
