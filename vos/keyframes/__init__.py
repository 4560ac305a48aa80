"""Which frames are key frames, their segmentation, and the memory bank."""
