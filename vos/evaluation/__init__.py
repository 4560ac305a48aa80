"""DAVIS data sets, metrics and the evaluation of a segmenter."""
