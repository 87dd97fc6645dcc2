"""Connected components of the pixel graph: labels and means.

The compiled twin is `virolbi._engine.components`; the algorithm of the labels is that of
`virolbi.nn.equilibrium`.
"""

import triton
import triton.language as tl

from virolbi.nn.kernels.records import Grid
from virolbi.nn.kernels.time_steps import exists

UNIT = tl.constexpr(float(2**32))  # sums are whole numbers of 1 / UNIT, the same in any order


@triton.jit
def join(labels, edges, ahead, grid, AXIS: tl.constexpr, BLOCK: tl.constexpr):
    """Turn the later of two labels that an open edge joins to the earlier; return how many."""
    met = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, grid.size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        joined = exists(k, grid, AXIS)
        joined = joined & (tl.load(edges + k, mask=joined, other=0) != 0)
        a = tl.load(labels + k, mask=joined, other=0)
        b = tl.load(labels + k + ahead, mask=joined, other=0)
        meeting = joined & (a != b)
        tl.atomic_min(labels + tl.maximum(a, b), tl.minimum(a, b), mask=meeting, sem="relaxed")
        met += meeting.to(tl.int32)
    return tl.sum(met, axis=0)


@triton.jit(do_not_specialize=["number"])
def label_kernel(edges, labels, number, width, size, BLOCK: tl.constexpr):
    """Label every pixel of an image with the first pixel of its region, in raster order.

    edges: (2, N, size), bytes. labels: (N, size), int32, the result. Labels only decrease, and
    end at the least of each region in whichever order threads write.
    """
    n = tl.program_id(0).to(tl.int64)
    labels += n * size
    grid = Grid(width, size)
    for first in range(0, size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        tl.store(labels + k, k, mask=k < size)
    tl.debug_barrier()
    met = 1
    while met > 0:
        met = join(labels, edges + n * size, 1, grid, 0, BLOCK)
        met += join(labels, edges + (number + n) * size, width, grid, 1, BLOCK)
        tl.debug_barrier()
        for first in range(0, size, BLOCK):
            k = first + tl.arange(0, BLOCK)
            inside = k < size
            label = tl.load(labels + k, mask=inside, other=0)
            tl.store(labels + k, tl.load(labels + label, mask=inside, other=0), mask=inside)
        tl.debug_barrier()


@triton.jit
def average_kernel(
    planes, labels, scale, sums, counts, means, size, C: tl.constexpr, BLOCK: tl.constexpr
):
    """Write the mean of its region at every pixel.

    planes, means: (N, C, size). labels: (N, size). scale: (N,), the largest magnitude of each
    image. sums: (N, C, size), int64, zeros; counts: (N, size), int32, zeros.
    """
    n = tl.program_id(0).to(tl.int64)
    planes, sums, means = planes + n * C * size, sums + n * C * size, means + n * C * size
    labels, counts = labels + n * size, counts + n * size
    largest = tl.load(scale + n)
    unit = tl.where(largest > 0, largest, 1.0)
    for first in range(0, size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        inside = k < size
        label = tl.load(labels + k, mask=inside, other=0)
        tl.atomic_add(counts + label, 1, mask=inside, sem="relaxed")
        for c in tl.static_range(C):
            share = tl.load(planes + k + c * size, mask=inside, other=0.0) / unit
            whole = (share * UNIT).to(tl.int64)
            tl.atomic_add(sums + label + c * size, whole, mask=inside, sem="relaxed")
    tl.debug_barrier()
    for first in range(0, size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        inside = k < size
        label = tl.load(labels + k, mask=inside, other=0)
        count = tl.load(counts + label, mask=inside, other=1).to(tl.float64)
        for c in tl.static_range(C):
            total = tl.load(sums + label + c * size, mask=inside, other=0).to(tl.float64)
            mean = (total / (count * UNIT)).to(tl.float32) * largest
            tl.store(means + k + c * size, mean, mask=inside)
