"""Evaluation of a segmenter on data sets in the layout of DAVIS."""
