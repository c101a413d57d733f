"""Makes torchvision's Python transforms importable beside a torch its compiled operators were not built for.

The official video processor needs torchvision. Its wheels come with operators compiled for one CUDA build of torch;
beside a CPU-only torch they do not load, and the import stops at the schemas of `nms` and `qnms`. The transforms need
neither, so declaring the two schemas is enough. Where torchvision loads by itself nothing is done.
"""

from __future__ import annotations

import logging
import sys

import torch

_library: torch.library.Library | None = None  # the schemas live as long as this object


def ensure_torchvision() -> None:
    """Import torchvision, declaring the two operator schemas it misses when its own cannot be loaded."""
    global _library
    if "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        _library.define(schema)  # type: ignore[no-untyped-call]
    import torchvision  # noqa: F401

    logging.getLogger("mer_r1").info(
        "torchvision's compiled operators do not fit this torch; its Python transforms are used without them"
    )
