"""Compile every kernel for an NVIDIA GPU, without one: `python compile_kernels.py 90`.

It prints the shared memory of each.
"""

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from virolbi.nn.kernels import bands, components, launch, path
from virolbi.nn.kernels.relaxation import HUBER, QUADRATIC, WEIGHTED

TYPES = dict.fromkeys(["edges"], "*u8") | dict.fromkeys(["goals", "sums"], "*i64")
TYPES |= dict.fromkeys(["labels", "counts", "state", "gains", "sweeps"], "*i32")
TYPES |= dict.fromkeys(["coupling", "delta", "power", "omega", "radius", "before"], "fp32")
TYPES |= dict.fromkeys(["number", "width", "size", "begin_sweeps", "relaxations"], "i32")
TYPES |= dict.fromkeys(["rounds_number", "sweep", "band", "bands"], "i32")
CASES = [
    (path.follow_kernel, {"C": 3, "TERM": HUBER.value}),
    (path.follow_kernel, {"C": 1, "TERM": QUADRATIC.value}),
    (path.settle_kernel, {"C": 3, "TERM": HUBER.value}),
    (path.settle_kernel, {"C": 1, "TERM": QUADRATIC.value}),
    (path.settle_kernel, {"C": 3, "TERM": WEIGHTED.value}),
    (bands.prepare_kernel, {"C": 3}),
    (bands.relax_kernel, {"C": 3, "TERM": HUBER.value}),
    (bands.measure_kernel, {"C": 3}),
    (bands.step_kernel, {"C": 3}),
    (bands.advance_kernel, {}),
    (bands.replay_kernel, {"C": 3}),
    (bands.settle_band_kernel, {"C": 3, "TERM": WEIGHTED.value}),
    (components.label_kernel, {}),
    (components.average_kernel, {"C": 3}),
]


def compile_kernel(kernel, constants, version):
    """Compile one kernel as `launch` does, for pointers and sizes that are multiples of 16."""
    constants = constants | {"BLOCK": launch.BLOCK}
    signature = {
        name: "constexpr" if name in constants else TYPES.get(name, "*fp32")
        for name in kernel.arg_names
    }
    aligned = [
        index
        for index, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or (kind == "i32" and name in ("width", "size"))
    ]
    source = ASTSource(
        kernel,
        signature=signature,
        constexprs=constants,
        attrs={(index,): [["tt.divisibility", 16]] for index in aligned},
    )
    options = {"num_warps": launch.WARPS, "num_stages": 1}
    return triton.compile(source, target=GPUTarget("cuda", version, 32), options=options)


if __name__ == "__main__":
    for kernel, constants in CASES:
        compiled = compile_kernel(kernel, constants, int(sys.argv[1]))
        memory, code = compiled.metadata.shared, len(compiled.asm["cubin"])
        print(f"{kernel.__name__} {constants}: {memory} bytes shared, {code} of code")
