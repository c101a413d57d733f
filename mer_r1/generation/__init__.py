"""Answers of a model for many samples: whoever generates them, and the file that they are stored in.

local.py generates with a checkpoint, endpoint.py with a server; store.py appends what is missing to a predictions file.
"""

from mer_r1.generation.generator import Generator, failed
from mer_r1.generation.store import GenerationReport, generate_to_store

__all__ = ["GenerationReport", "Generator", "failed", "generate_to_store"]
