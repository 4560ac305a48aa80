"""Compressed video -> typed frames with their motion, references and residual."""
