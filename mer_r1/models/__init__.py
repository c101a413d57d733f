"""Backbones. Importing this package makes torchvision importable first, because transformers imports it."""

import logging
import re

from mer_r1.models.torchvision_compat import ensure_torchvision

ensure_torchvision()

from transformers.utils.logging import disable_progress_bar, get_logger  # noqa: E402  after torchvision

disable_progress_bar()  # bars of single files would break into the bars of a job
# Reading a whole Omni's configuration warns of the talker's ids, against its vocabulary of 8448: transformers' own
# defaults and the published files alike. There is no talker here.
get_logger("transformers.configuration_utils").addFilter(
    lambda record: "(between 0 and 8447)" not in record.getMessage()
)
# Of weights that are missing or of another size checkpoint.py tells in one line.
logging.getLogger("transformers.modeling_utils").addFilter(
    lambda record: not re.search(r"LOAD REPORT.*\| (MISSING|MISMATCH)", record.getMessage(), re.DOTALL)
)
for _name in ("backends.cpu.ops", "autograd._functions"):
    # bitsandbytes, which PEFT imports, warns of kernels for a CPU that are not there, and of products in LLM.int8().
    logging.getLogger(f"bitsandbytes.{_name}").setLevel(logging.ERROR)
