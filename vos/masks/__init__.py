"""Masks in their sizes: the padded size that networks see, the stride-4 grid, label images in display size."""
