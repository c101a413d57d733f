"""The bar of generation, until the benchmarks take a progress callback."""

from mer_r1.display.progress import generation_bar

__all__ = ["generation_bar"]
