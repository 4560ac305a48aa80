"""Report on the bitstream of a video and forecast the cost of segmenting it. Loads no torch."""
