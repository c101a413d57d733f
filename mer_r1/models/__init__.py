"""Backbones. Importing this package makes torchvision importable first, because transformers imports it."""

from mer_r1.models.torchvision_compat import ensure_torchvision

ensure_torchvision()

from transformers.utils import logging  # noqa: E402  after torchvision

logging.disable_progress_bar()  # bars of single files would break into the bars of a job
