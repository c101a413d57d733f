"""Tiny random models of every kind, built offline; `write_tiny` writes the Qwen2.5-Omni Thinker."""

from mer_r1.models.tiny.omni import write_tiny

__all__ = ["write_tiny"]
