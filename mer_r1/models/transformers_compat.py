"""Names that differ between the supported versions of transformers (5.19 and later), in one place.

Where the language model and the towers stand in a model differs too; `get_decoder` and `get_encoder` of transformers
find them.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

_CHECKPOINTING = next(
    name
    for name in ("activation_checkpointing", "gradient_checkpointing")  # the older name is deprecated, not yet gone
    if hasattr(PreTrainedModel, f"{name}_enable")
)


def enable_checkpointing(model: Any) -> None:
    """Layers of this model, in training, are computed again in the backward pass instead of kept.

    transformers then asks gradients of all inputs, pictures and sound among them, as an older way of checkpointing
    needs: frozen towers would be computed again and differentiated for nothing.
    """
    getattr(model, f"{_CHECKPOINTING}_enable")({"use_reentrant": False})
    model.disable_input_require_grads()
