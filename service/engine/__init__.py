"""The engine of jobs: a supervisor and its worker processes."""
