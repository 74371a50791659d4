"""A dry run of hires on CUDA tensors that do not exist, for machines without a GPU.

Tensors are fake (`torch._subclasses.FakeTensorMode`): they have shapes, types, strides and a
device, and no values. Python runs as it would before a GPU, so that every operation that it would
launch is seen: `Counter` counts kernels, bytes moved and synchronisations, and `CachingAllocator`
follows what PyTorch's allocator would hold. The real autograd engine needs a CUDA context;
`autograd_on_fakes` takes its place.

What it cannot see: numbers (a loop that ends at convergence, a branch on a value), speed, kernels
that exist but not for a type (of a bf16 group norm with float32 weights, say), TF32, workspaces of
cuDNN and cuBLAS, kernels that one operation launches beside its first, except for those of
`counter.KERNELS`, and what the CUDA context takes.
"""

from cuda_dry_run.allocator import CachingAllocator, ExpandableAllocator
from cuda_dry_run.autograd import autograd_on_fakes, stand_in
from cuda_dry_run.counter import Counter
from cuda_dry_run.scenes import (
    CUDA,
    Climbed,
    Painting,
    applied,
    dry_run,
    ladder_on_card,
    network_of,
    painting,
    trainer,
)

__all__ = [
    "CUDA",
    "CachingAllocator",
    "Climbed",
    "Counter",
    "ExpandableAllocator",
    "Painting",
    "applied",
    "autograd_on_fakes",
    "dry_run",
    "ladder_on_card",
    "network_of",
    "painting",
    "stand_in",
    "trainer",
]
