"""Video object segmentation: the frames of a compressed video and a prompt -> masks."""
