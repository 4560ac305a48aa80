"""What every process of the service sets up: its log, its signals and memory, its threads."""
