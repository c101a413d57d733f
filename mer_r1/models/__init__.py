"""Backbones. Importing this package makes torchvision importable first, because transformers imports it."""

from mer_r1.models.torchvision_mend import ensure_torchvision

ensure_torchvision()
