"""The units that a picture is optimised in, against sRGB in [0, 1]. No torch.

``unit`` is sRGB itself, ``imagenet`` subtracts the mean of ImageNet's pixels and divides by their
standard deviation, and ``caffe`` is 0 to 255 minus the means that VGG's first weights were trained
with. Shifts change no difference and no gradient, so that only scales matter to an optimizer and to
the total variation; the order of the channels changes neither.
"""

from __future__ import annotations

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# K. Simonyan's models, and Keras's port of them; red, green, blue.
CAFFE_MEAN = (123.68, 116.779, 103.939)

PIXEL_SCALES: dict[str, tuple[float, float, float]] = {
    "unit": (1.0, 1.0, 1.0),
    "imagenet": (1 / IMAGENET_STD[0], 1 / IMAGENET_STD[1], 1 / IMAGENET_STD[2]),
    "caffe": (255.0, 255.0, 255.0),
}
