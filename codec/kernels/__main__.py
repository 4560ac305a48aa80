"""Compile all kernels ahead of time: `python -m codec.kernels`."""

from codec.kernels import compensate

print(f"The kernels are compiled. numba's cache is in {compensate.stats.cache_path}")
