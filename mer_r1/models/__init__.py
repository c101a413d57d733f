"""Backbones. Importing this package makes torchvision importable first, because transformers imports it."""

from mer_r1.models.torchvision_compat import ensure_torchvision

ensure_torchvision()

from transformers.utils import logging  # noqa: E402  after torchvision

logging.disable_progress_bar()  # bars of single files would break into the bars of a job
# Reading a whole Omni's configuration warns of the talker's ids, against its vocabulary of 8448: transformers' own
# defaults and the published files alike. There is no talker here.
logging.get_logger("transformers.configuration_utils").addFilter(
    lambda record: "(between 0 and 8447)" not in record.getMessage()
)
