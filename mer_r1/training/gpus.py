"""What GPUs can do, by their makers' data sheets: the cards that `mer-r1 train --dry-run --gpu` knows by name.

Peak of dense bf16 with sums in float32 (sheets that print the rate "with sparsity" print twice this), memory bandwidth,
memory as the driver reports it, and one direction of the link to a neighbour (NVLink, Infinity Fabric, or what PCIe 4
and 5 with 16 lanes leave of 32 and 64 GB/s). Sources: NVIDIA's data sheets of A10, A100, L4, L40S, H100 SXM, H20, H200,
HGX B200, HGX B300, GB200 NVL72 and RTX PRO 6000 Blackwell (workstation), its whitepapers on GA102, Ada and RTX
Blackwell for the RTX cards, and AMD's of MI300X. V100 and T4 have no bf16, so no recipe with optim.bf16 runs on them at
speed.
"""

from __future__ import annotations

from dataclasses import dataclass

from mer_r1.errors import InputError

DEFAULT = "h100"
_PCIE4, _PCIE5 = 25e9, 50e9


@dataclass(frozen=True)
class Gpu:
    """Peak of dense bf16 (FLOP/s), memory bandwidth (bytes/s), memory (GiB), link to its neighbours (bytes/s)."""

    flops: float
    bandwidth: float
    memory_gib: float
    link: float


GPUS = {
    "b300": Gpu(2250e12, 8.0e12, 268, 900e9),
    "b200": Gpu(2250e12, 8.0e12, 179, 900e9),
    "gb200": Gpu(2500e12, 8.0e12, 185, 900e9),
    "h200": Gpu(989e12, 4.8e12, 140, 450e9),
    "h100": Gpu(989e12, 3.35e12, 80, 450e9),
    "h20": Gpu(148e12, 4.0e12, 95, 450e9),
    "a100-80": Gpu(312e12, 2.04e12, 80, 300e9),
    "a100-40": Gpu(312e12, 1.56e12, 40, 300e9),
    "l40s": Gpu(362e12, 0.86e12, 45, _PCIE4),
    "l4": Gpu(121e12, 0.3e12, 22, _PCIE4),
    "a10": Gpu(125e12, 0.6e12, 22, _PCIE4),
    "rtx-pro-6000": Gpu(504e12, 1.79e12, 95, _PCIE5),
    "rtx6000-ada": Gpu(364e12, 0.96e12, 48, _PCIE4),
    "rtx-a6000": Gpu(155e12, 0.77e12, 48, _PCIE4),
    "rtx5090": Gpu(209e12, 1.79e12, 31, _PCIE5),
    "rtx5080": Gpu(112e12, 0.96e12, 15, _PCIE5),
    "rtx4090": Gpu(165e12, 1.01e12, 24, _PCIE4),
    "rtx4080": Gpu(97e12, 0.72e12, 16, _PCIE4),
    "rtx3090": Gpu(71e12, 0.94e12, 24, _PCIE4),
    "mi300x": Gpu(1307e12, 5.3e12, 192, 448e9),
}


@dataclass(frozen=True)
class Card:
    """The GPU of an estimate: what it is called, its memory (GiB), and its speed where that is known."""

    name: str
    memory_gib: float
    speed: Gpu | None


def find_card(name: str | None = None, memory_gib: float | None = None) -> Card:
    """The card of --gpu and --gpu-gb; the default one without both.

    A card given by its memory alone has no known speed. Raises InputError for an unknown name or memory below 1 GiB.
    """
    if memory_gib is not None and not memory_gib >= 1:
        raise InputError(f"--gpu-gb {memory_gib:g}: give the memory of one GPU in GB")
    if name is None and memory_gib is not None:
        return Card(f"GPU of {memory_gib:g} GB", memory_gib, None)
    name = (name or DEFAULT).lower()
    if name not in GPUS:
        raise InputError(
            f"--gpu {name}: is not known; choose from {', '.join(GPUS)}, or give the memory of another card: --gpu-gb N"
        )
    gpu = GPUS[name]
    if memory_gib is None:
        return Card(name, gpu.memory_gib, gpu)
    return Card(f"{name} of {memory_gib:g} GB", memory_gib, gpu)
