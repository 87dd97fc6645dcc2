"""The path, equilibria and regions of float32 images in Triton kernels, for GPUs.

The same in torch operations is `virolbi.nn.path` and `virolbi.nn.equilibrium`. Import this package
only where Triton is installed. With TRITON_INTERPRET=1 in the environment before that, the kernels
run on the CPU, slowly, for tests.
"""

from virolbi.nn.kernels.launch import follow, label_regions, region_means, solve

__all__ = ["follow", "label_regions", "region_means", "solve"]
