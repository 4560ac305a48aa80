"""Compile every kernel and keep it, so that the first video need not wait: `python -m codec.kernels`."""

from codec.kernels import compensate

print(f"The kernels are compiled; numba keeps them in {compensate.stats.cache_path}")
