"""Asking a model about many samples: who is asked, and the file that its answers go to.

record.py holds the file: what it lacks is asked, what is there is kept. local.py asks a checkpoint, endpoint.py a
server.
"""

from mer_r1.generation.store import GenerationReport, Generator, failed, generate_to_store

__all__ = ["GenerationReport", "Generator", "failed", "generate_to_store"]
