"""What graphs keep lies in the buffer, once each, and gradients are those of graphs without it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing import reductions

from hires.kernels.activation_buffer import ActivationBuffer, Recomputed
from hires.kernels.layers import looked_at

CPU = torch.device("cpu")
weak_storage: Any = reductions.StorageWeakRef


def buffer_of(num_bytes: int = 2**16, lasting: tuple[Tensor, ...] = ()) -> ActivationBuffer:
    return ActivationBuffer(num_bytes, CPU, lasting)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).requires_grad_()


def saved(y: Tensor, name: str = "result") -> Tensor:
    """What the node that made a tensor finds when it asks for what it saved."""
    found: Tensor = getattr(y.grad_fn, f"_saved_{name}")
    return found


def offset(tensor: Tensor, buffer: ActivationBuffer) -> int:
    return tensor.data_ptr() - buffer.memory.data_ptr()


def lies_in(tensor: Tensor, buffer: ActivationBuffer) -> bool:
    start = offset(tensor, buffer)
    return start >= 0 and start + tensor.nbytes <= buffer.num_bytes


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_what_is_saved_lies_in_the_buffer(dtype: torch.dtype, layout: torch.memory_format) -> None:
    buffer = buffer_of()
    x = leaf(1, 3, 5, 4).detach().to(dtype).contiguous(memory_format=layout).requires_grad_()
    with buffer.saving():
        y = x.exp()
    kept = saved(y)
    assert lies_in(kept, buffer)
    assert not lies_in(y, buffer)
    assert torch.equal(kept, y)
    assert kept.stride() == y.stride()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y)


def test_only_what_is_built_inside_is_kept() -> None:
    buffer = buffer_of()
    with buffer.saving():
        pass
    y = leaf(7).exp()
    assert not lies_in(saved(y), buffer)


def test_what_two_nodes_save_takes_room_once() -> None:
    buffer = buffer_of(128)
    with buffer.saving():
        y = leaf(20).exp()
        z = y.square()
        w = y.sin()
    assert lies_in(saved(y), buffer)
    places = {kept.data_ptr() for kept in (saved(y), saved(z, "self"), saved(w, "self"))}
    assert len(places) == 1


def test_what_lies_side_by_side_is_aligned_and_apart() -> None:
    buffer = buffer_of()
    with buffer.saving():
        kept = [saved(leaf(length).exp()) for length in (1, 3, 16, 17, 40)]
    starts = [offset(tensor, buffer) for tensor in kept]
    assert starts == [0, 64, 128, 192, 320]


def test_the_place_of_a_tensor_that_is_gone_is_not_the_tensor() -> None:
    buffer = buffer_of()
    memory = np.arange(6, dtype=np.float32)
    one = torch.from_numpy(memory)
    first = buffer.save(one)
    address = one.data_ptr()
    del one
    memory[:] = 7
    other = torch.from_numpy(memory)
    assert other.data_ptr() == address
    second = buffer.save(other)
    assert first.tolist() == [0, 1, 2, 3, 4, 5]
    assert second.tolist() == [7] * 6


def test_another_view_of_the_same_memory_is_another_tensor() -> None:
    buffer = buffer_of()
    x = torch.arange(12.0).view(3, 4)
    assert buffer.save(x).data_ptr() == buffer.save(x[:]).data_ptr()
    rows, flat = buffer.save(x[:2]), buffer.save(x.flatten())
    assert torch.equal(rows, x[:2])
    assert torch.equal(flat, x.flatten())


def test_lasting_tensors_are_saved_as_they_are() -> None:
    weight = torch.arange(6.0)
    buffer = buffer_of(lasting=(weight,))
    with buffer.saving():
        y, z = leaf(6) * weight, leaf(4) * weight[2:]
    assert saved(y, "other").data_ptr() == weight.data_ptr()
    assert saved(z, "other").data_ptr() == weight[2:].data_ptr()


def test_what_has_gaps_in_memory_stays_where_it_is() -> None:
    x = torch.arange(12.0).view(3, 4)
    assert buffer_of().save(x[:, 1:]).data_ptr() == x[:, 1:].data_ptr()


def test_what_does_not_fit_stays_where_it_is() -> None:
    buffer, x = buffer_of(200), leaf(20)
    with buffer.saving():
        y = x.exp()
        z = y.sin().exp()
        small = z.tanh()
    assert lies_in(saved(y), buffer)
    assert not lies_in(saved(z), buffer)
    assert torch.equal(saved(z), z)
    (found,) = torch.autograd.grad(small.sum(), x)
    (wanted,) = torch.autograd.grad(x.exp().sin().exp().tanh().sum(), x)
    assert torch.equal(found, wanted)


def test_an_empty_buffer_keeps_nothing() -> None:
    buffer, x = buffer_of(0), leaf(5)
    with buffer.saving():
        y = x.exp()
    assert buffer.num_bytes == 0
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y)


@pytest.mark.parametrize("num_bytes", [0, 2**16])
def test_a_graph_that_never_runs_back_ends_with_what_it_made(num_bytes: int) -> None:
    buffer, x = buffer_of(num_bytes), leaf(4, 4)
    with buffer.saving():
        y = x.exp()
        z = y[:, 1:].exp()
    made = [weak_storage(tensor.untyped_storage()) for tensor in (y, z)]
    del y, z
    buffer.clear()
    gc.collect()
    assert all(one.expired() for one in made)


def test_a_cleared_buffer_begins_at_its_start() -> None:
    buffer, x = buffer_of(64), leaf(16)
    for scale in (1.0, 2.0):
        buffer.clear()
        with buffer.saving():
            y = (x * scale).exp()
        assert offset(saved(y), buffer) == 0
        assert torch.equal(saved(y), y)


def test_a_tensor_of_before_is_kept_anew_after_clearing() -> None:
    buffer, x = buffer_of(64), torch.ones(4)
    buffer.save(x)
    buffer.clear()
    buffer.save(torch.zeros(16))
    assert torch.equal(buffer.save(x), x)


def test_a_layer_is_made_again_once_for_all_who_saved_it() -> None:
    buffer, x = buffer_of(), leaf(9)
    made: list[weakref.ref[Tensor]] = []
    grad_modes: list[bool] = []

    def make() -> Tensor:
        tensor = x.exp()
        made.append(weakref.ref(tensor))
        grad_modes.append(torch.is_grad_enabled())
        return tensor

    with buffer.saving(), buffer.recomputing(Recomputed(make)):
        y = x.exp()
        z = y.square() + y.sin()
    assert not made
    assert buffer.used_bytes == 0
    (found,) = torch.autograd.grad(z.sum(), x)
    assert grad_modes == [False]
    assert made[0]() is None
    plain = x.exp()
    (wanted,) = torch.autograd.grad((plain.square() + plain.sin()).sum(), x)
    assert torch.equal(found, wanted)


def test_what_else_is_saved_beside_a_layer_is_kept() -> None:
    buffer, x = buffer_of(), leaf(6)
    y = x.exp()
    with buffer.recomputing(Recomputed(x.exp), y):
        z = y.sin() * y.sigmoid()
    plain = x.exp()
    wanted = torch.autograd.grad((plain.sin() * plain.sigmoid()).sum(), x)[0]
    assert buffer.used_bytes > 0
    assert torch.equal(torch.autograd.grad(z.sum(), x)[0], wanted)


def test_lasting_tensors_are_not_made_again() -> None:
    weight, x = torch.arange(6.0), leaf(6)

    def make() -> Tensor:
        raise AssertionError

    with buffer_of(lasting=(weight,)).recomputing(Recomputed(make)):
        y = x * weight
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], weight)


def test_the_buffer_goes_on_keeping_after_something_was_not_kept() -> None:
    buffer, x = buffer_of(), leaf(6)
    with buffer.saving():
        with buffer.recomputing(Recomputed(x.exp)):
            y = x.exp()
        z = y.exp()
    assert offset(saved(z), buffer) == 0


def test_rows_of_a_map_that_is_saved_are_those_of_its_copy() -> None:
    buffer = buffer_of()
    x = leaf(1, 3, 5, 4).detach().contiguous(memory_format=torch.channels_last)
    y = x.clone(memory_format=torch.channels_last)
    copy, used = buffer.save(y), buffer.used_bytes
    part = buffer.save(y[..., 1:4, :])
    assert torch.equal(part, x[..., 1:4, :])
    assert part.data_ptr() == copy[..., 1:, :].data_ptr()
    assert buffer.used_bytes == used
    assert buffer.save(y[..., :2]).data_ptr() != copy.data_ptr()  # Columns are no rows.


def test_the_slope_of_rows_is_added_to_that_of_their_map() -> None:
    x = leaf(1, 3, 6, 4, seed=1)
    whole, part = looked_at(x, slice(2, 4))
    (found,) = torch.autograd.grad((whole * 3).sum() + (part * part).sum(), x)
    wanted = torch.full_like(x, 3.0)
    wanted[..., 2:4, :] += 2 * x.detach()[..., 2:4, :]
    assert torch.equal(found, wanted)
    _, part = looked_at(x, slice(2, 4))
    (found,) = torch.autograd.grad(part.sum(), x)
    assert found.sum() == part.numel()
