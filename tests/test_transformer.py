"""The image-to-image networks: their arithmetic against a plain version, their training twin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import random_image
from forward_models import ENLARGE, STYLE, plain, random_tensors
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hires.feedforward.design import Design, ModelError, check_tensors
from hires.feedforward.normalisation import NormRelu
from hires.feedforward.stages import Stage
from hires.feedforward.transformer import Transformer
from hires.tiling.geometry import Span


def test_the_document_s_network_has_its_sizes() -> None:
    stages = Design().stages(normalised=True)
    assert [(stage.name, stage.after, stage.kernel, stage.stride) for stage in stages[:3]] == [
        ("first", 32, 9, 1),
        ("down1", 64, 3, 2),
        ("down2", 128, 3, 2),
    ]
    assert [stage.name for stage in stages[13:]] == ["up1", "up2", "last"]
    shapes = Design().tensors(normalised=True).values()
    assert sum(torch.Size(shape).numel() for shape in shapes) == 1_677_635


def test_eightfold_enlargement_doubles_three_times() -> None:
    design = Design(task="super-resolution", factor=8, widths=(64,), num_blocks=4)
    names = [stage.name for stage in design.stages(normalised=False)]
    assert names[0] == "first"
    assert names[-4:] == ["up1", "up2", "up3", "last"]
    assert len(names) == 13


@pytest.mark.parametrize("size", [(40, 44), (37, 51)])
def test_training_twin_is_the_plain_network(size: tuple[int, int]) -> None:
    model = Transformer(STYLE, seed=3).double()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
    image = random_image(*size)
    tensors = {name.replace("_", "."): value for name, value in model.tensors.items()}
    tensors = {
        key.replace("block1.", "block1_").replace("block2.", "block2_"): value
        for key, value in tensors.items()
    }
    found = model(image, torch.float64).clamp(0, 1)
    assert found.shape == image.shape
    torch.testing.assert_close(found, plain(STYLE, tensors, image), rtol=0, atol=1e-12)


def test_batch_statistics_become_part_of_the_weights() -> None:
    model = Transformer(ENLARGE, seed=0)
    generator = torch.Generator().manual_seed(0)
    model.tensors["last_weight"].data.normal_(0, 0.05, generator=generator)
    pictures = torch.cat([random_image(16, 16, seed=i).float() for i in range(2)])
    for _ in range(150):  # Until the running statistics are those of this batch.
        model(pictures)
    with torch.no_grad():
        trained = model(pictures).clamp(0, 1)
    finished = model.finished()
    check_tensors(ENLARGE, finished)
    torch.testing.assert_close(
        trained, plain(ENLARGE, finished, pictures).float(), rtol=0, atol=2e-4
    )


def test_an_untrained_enlargement_is_bicubic() -> None:
    image = random_image(20, 24).float()
    expected = torch.nn.functional.interpolate(image, scale_factor=4, mode="bicubic")
    torch.testing.assert_close(Transformer(ENLARGE, seed=0)(image), expected)


@pytest.mark.parametrize("relu", [True, False])
def test_normalisation_has_the_right_gradient(relu: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *inputs: NormRelu.apply(*inputs, relu)[0], (x, scale, shift)
    )


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the types of all tensors that normalisations are given, and of what they return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.types: list[set[torch.dtype]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        found = func(*args, **(kwargs or {}))
        if "group_norm" in str(func):
            tensors = (x for x in (*args, *found) if isinstance(x, Tensor))
            self.types.append({x.dtype for x in tensors})
        return found


@pytest.mark.parametrize("design", [STYLE, ENLARGE])
def test_a_device_without_mixed_types_normalises_in_one(
    design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA, which has no kernel for half-precision maps with float32 parameters."""
    network = Transformer(design, seed=1)
    image = random_image(24, 40, seed=2).float()

    def gradients() -> tuple[Tensor, Tensor]:
        network.zero_grad()
        found = network(image, torch.bfloat16)
        torch.autograd.backward(found.square().mean())
        parts = [x.grad.flatten() for x in network.tensors.values() if x.grad is not None]
        return found.detach(), torch.cat(parts)

    pictures, slopes = gradients()
    monkeypatch.setattr("hires.feedforward.normalisation._mixes_types", lambda _: False)
    with _Seen() as seen:
        others, other_slopes = gradients()
    assert len(seen.types) == sum(stage.norm for stage in network.stages)
    assert set(map(frozenset, seen.types)) == {frozenset({torch.float32})}
    # A rounding of the maps here and there.
    assert (others - pictures).abs().max() < 0.02
    assert (other_slopes - slopes).norm() < 0.05 * slopes.norm()


def test_a_stage_reads_no_more_than_it_needs() -> None:
    up = Stage("up", 1, 1, 3, enlarge=2)
    middle = up.input_span(Span(5, 7), 100)  # Enlarged positions 4 to 7.
    assert (middle.span, middle.skip, middle.length, middle.pads) == (Span(2, 4), 0, 4, (0, 0))
    border = up.input_span(Span(0, 3), 100)
    assert (border.span, border.pads) == (Span(0, 2), (1, 0))
    down = Stage("down", 1, 1, 3, stride=2)
    assert down.length(7) == 4
    assert down.input_span(Span(3, 4), 7).span == Span(5, 7)
    assert down.input_span(Span(3, 4), 7).pads == (0, 1)


def test_receptive_field_by_experiment() -> None:
    field = ENLARGE.receptive_field
    # No weight is negative, so that no ReLU hides what a pixel depends on.
    tensors = {name: value.abs() / 30 for name, value in random_tensors(ENLARGE).items()}
    image = (0.55 + random_image(field + 20, 30) / 10).requires_grad_()
    out = plain(ENLARGE, tensors, image)
    assert float(out.detach().max()) < 1
    widest = 0
    for row in range(out.shape[2] // 2, out.shape[2] // 2 + 4):
        (gradient,) = torch.autograd.grad(out[0, 0, row].sum(), image, retain_graph=True)
        rows = gradient.abs().sum((0, 1, 3)).nonzero()
        widest = max(widest, int(rows.max() - rows.min()) + 1)
    assert widest == field


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "dream"}, "unknown task 'dream'"),
        ({"factor": 4}, "factor 4 does not suit style"),
        ({"task": "super-resolution", "factor": 3, "widths": (8,)}, "give 4 or 8"),
        ({"kernel": 4}, "odd number"),
        ({"widths": ()}, "at least one width"),
    ],
)
def test_a_design_that_is_none_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Design(**options)  # type: ignore[arg-type]
