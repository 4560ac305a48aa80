"""The HTTP API. FastAPI is imported here and nowhere else."""
