"""Benchmarks of speed, accuracy and the service. README.md beside this file states the contract."""

from service.run.torch_runtime import prepare_torch

# The command line does the same. Only here does it come before any benchmark loads torch.
prepare_torch()
