"""Read prompts: what marks the objects in one frame of a video."""
