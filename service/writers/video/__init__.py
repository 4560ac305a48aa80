"""Videos of masks, in step with the source."""
