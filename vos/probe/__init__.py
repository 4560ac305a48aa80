"""What a video offers to segmentation, and a forecast of the cost. Imports no torch."""
