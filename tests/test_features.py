"""The network against PyTorch's own modules, and its own arithmetic against published figures."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import reference
import torch
import torch.nn.functional as F
from conftest import COMPACT_SHAPE, REFLECT_SHAPE, VGG_SHAPE, random_image, random_weights

from hires.features.architecture import VGG16, VGG19, Architecture, FeaturesError
from hires.features.network import Network, random_network
from hires.tiling.geometry import Layer


@pytest.mark.parametrize(
    ("name", "stride", "halo"),
    [
        ("relu1_1", 1, 1),
        ("relu1_2", 1, 2),
        ("pool1", 2, 2),
        ("relu2_1", 2, 4),
        ("relu3_1", 4, 10),
        ("relu4_1", 8, 30),
        ("relu4_2", 8, 38),
        ("conv5_1", 16, 70),
        ("relu5_1", 16, 70),
    ],
)
def test_strides_and_halos_of_vgg19(name: str, stride: int, halo: int) -> None:
    layer = VGG19.layers()[name]
    assert (layer.stride, layer.halo) == (stride, halo)


def test_cost_of_vgg19() -> None:
    assert VGG19.layers()["relu5_1"].multiply_adds == pytest.approx(361e3, rel=2e-3)


def test_shapes_of_the_vgg_family() -> None:
    assert len(list(VGG16.convolutions())) == 13
    assert len(list(VGG19.convolutions())) == 16
    assert list(VGG19.layers())[-1] == "pool5"
    assert VGG19.layers()["relu4_4"] == Layer(8, 54, 512, VGG19.layers()["conv4_4"].multiply_adds)


@pytest.mark.parametrize("layer", ["relu2_2", "relu3_1", "pool2"])
def test_a_layer_sees_its_halo_and_no_further(layer: str) -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE), pooling="average")
    stride, halo = network.layers[layer].stride, network.layers[layer].halo
    image = random_image(64, 64).requires_grad_()
    cell = 32 // stride
    (slope,) = torch.autograd.grad(network(image, [layer])[layer][..., cell, cell].sum(), image)
    seen = slope.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (int(seen.min()), int(seen.max())) == (32 - halo, 32 + stride - 1 + halo)


@pytest.mark.parametrize("shape", [VGG_SHAPE, COMPACT_SHAPE, REFLECT_SHAPE])
def test_relu_layers_equal_the_reference(shape: Architecture) -> None:
    image, weights = random_image(37, 50), random_weights(shape)
    wanted = reference.network(shape, weights, image)
    found = Network(shape, weights)(image, list(wanted))
    for name, features in wanted.items():
        torch.testing.assert_close(found[name], features, rtol=1e-10, atol=1e-10)


def test_convolutions_are_tapped_before_the_relu() -> None:
    network = Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE))
    image = random_image(32, 40)
    both = network(image, ["conv2_2", "relu2_2", "relu3_1"])
    assert (both["conv2_2"] < 0).any()
    assert torch.equal(F.relu(both["conv2_2"]), both["relu2_2"])
    # What is tapped changes nothing further up.
    assert torch.equal(network(image, ["relu3_1"])["relu3_1"], both["relu3_1"])
    only = network(image, ["conv2_2"])
    assert list(only) == ["conv2_2"]
    assert torch.equal(only["conv2_2"], both["conv2_2"])


def test_slopes_are_right_through_a_tapped_convolution() -> None:
    network = Network(REFLECT_SHAPE, random_weights(REFLECT_SHAPE), pooling="average")

    def outputs(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(network(image, ["conv2_1", "relu3_1"]).values())

    assert torch.autograd.gradcheck(outputs, (random_image(8, 8).requires_grad_(),))


@pytest.mark.parametrize("name", ["relu4_9", "22", "", "relu6_1"])
def test_an_unknown_layer_is_named_with_the_known_ones(name: str) -> None:
    network = random_network(COMPACT_SHAPE)
    with pytest.raises(FeaturesError, match=f"unknown layer '{name}'.*choose from relu1_1, relu"):
        network(random_image(32, 32), ["relu1_1", name])


def test_poolings() -> None:
    # Kernels that copy: what reaches pool1 is the picture itself.
    shape = Architecture(blocks=((3,),))
    kernel = torch.zeros(3, 3, 3, 3)
    kernel[range(3), range(3), 1, 1] = 1
    weights = {"conv1_1.weight": kernel, "conv1_1.bias": torch.zeros(3)}
    image = random_image(7, 8)
    wanted = {
        "max": F.max_pool2d(image, 2),
        "average": F.avg_pool2d(image, 2) * 2,
        "l2": F.lp_pool2d(image, 2, 2) * 0.78,
    }
    for pooling, features in wanted.items():
        found = Network(shape, weights, pooling=pooling)(image, ["pool1"])["pool1"]  # type: ignore[arg-type]
        torch.testing.assert_close(found, features, rtol=1e-6, atol=1e-6)


def test_an_unknown_pooling_is_refused() -> None:
    arguments: dict[str, Any] = {"pooling": "median"}
    with pytest.raises(FeaturesError, match=r"unknown pooling 'median': choose one of max, av"):
        Network(COMPACT_SHAPE, random_weights(COMPACT_SHAPE), **arguments)


def test_the_smallest_image_and_one_smaller() -> None:
    network = random_network(COMPACT_SHAPE)
    assert network.least_side(["relu5_1", "relu1_1"]) == 16
    assert network(random_image(16, 16), ["relu5_1"])["relu5_1"].shape == (1, 10, 1, 1)
    reflecting = random_network(REFLECT_SHAPE)
    assert reflecting.least_side(["relu3_1"]) == 8
    assert reflecting(random_image(8, 8), ["relu3_1"])["relu3_1"].shape == (1, 6, 2, 2)


def test_prepare_casts_once_and_keeps_the_origin_wide() -> None:
    network = random_network(COMPACT_SHAPE)
    wide = network(random_image(32, 32), ["relu5_1"])["relu5_1"]
    assert network.prepare("cpu", torch.bfloat16, torch.channels_last) is network
    assert network.dtype == torch.bfloat16
    assert network.origin.dtype == torch.float32
    weight = network.get_buffer("weight2_1")
    assert weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    found = network(random_image(32, 32).float(), ["relu5_1"])["relu5_1"]
    assert found.dtype == torch.bfloat16
    assert float((found.double() - wide).norm() / wide.norm()) < 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": ()}, "at least one convolution in every block"),
        ({"blocks": ((4,), ())}, "at least one convolution in every block"),
        ({"blocks": ((4, 0),)}, "at least one output channel"),
        ({"blocks": ((4,),), "padding": "circular"}, "choose one of zeros, reflect, replicate"),
        ({"blocks": ((4,),), "input_padding": "no"}, "choose one of zeros, reflect, replicate"),
        ({"blocks": ((4,),), "shift": (0.0,)}, "a 3x3 matrix and a shift of 3 numbers"),
        ({"blocks": ((4,),), "matrix": ((1.0,) * 3,) * 2}, "a 3x3 matrix and a shift"),
    ],
)
def test_an_impossible_architecture_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FeaturesError, match=message):
        Architecture(**arguments)


def test_weights_of_another_architecture_are_refused() -> None:
    weights = random_weights(COMPACT_SHAPE)
    with pytest.raises(FeaturesError, match=r"no tensor 'conv2_1.weight'"):
        Network(COMPACT_SHAPE, {k: v for k, v in weights.items() if k != "conv2_1.weight"})
    with pytest.raises(FeaturesError, match=r"'conv1_1.bias' is \(4,\), the architecture says \(5"):
        Network(
            Architecture(blocks=((5,),)),
            {"conv1_1.weight": torch.zeros(5, 3, 3, 3)} | {"conv1_1.bias": weights["conv1_1.bias"]},
        )
    with pytest.raises(FeaturesError, match=r"'conv9_9.bias' that does not belong"):
        Network(COMPACT_SHAPE, weights | {"conv9_9.bias": torch.zeros(3)})
    with pytest.raises(FeaturesError, match=r"'conv1_1.bias' has values that are not finite"):
        Network(COMPACT_SHAPE, weights | {"conv1_1.bias": torch.full((4,), torch.nan)})


def test_layers_come_in_the_order_of_the_network() -> None:
    network = random_network(COMPACT_SHAPE)
    names = ["relu3_1", "pool1", "conv2_2", "relu1_1", "relu2_2"]
    found = list(network.produce(random_image(32, 40), names))
    assert [name for name, _ in found] == ["relu1_1", "pool1", "conv2_2", "relu2_2", "relu3_1"]
    wanted = network(random_image(32, 40), names)
    assert list(wanted) == names
    assert all(torch.equal(features, wanted[name]) for name, features in found)


def test_layers_that_nobody_holds_are_freed() -> None:
    network = random_network(COMPACT_SHAPE)
    image = random_image(32, 40)
    alive = [weakref.ref(image)]
    layers = network.produce(image, ["relu1_1", "relu1_2", "conv2_1", "relu2_1", "pool2"])
    del image
    for _, features in layers:
        assert not any(ref() is not None for ref in alive)
        alive = [weakref.ref(features)]
        del features


def test_every_layer_is_computed_in_its_context() -> None:
    entered = []

    def around(layer: str) -> AbstractContextManager[object]:
        entered.append(layer)
        return nullcontext()

    network = random_network(COMPACT_SHAPE)
    list(network.produce(random_image(32, 40), ["conv1_2", "relu2_1"], around=around))
    assert entered == ["relu1_1", "conv1_2", "pool1", "relu2_1"]
