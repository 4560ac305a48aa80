"""Errors of the segmentation layer.

VosError
├── PromptError        the mask cannot be used: wrong size, no object, too many objects
├── OptionError        an option's value is outside what is allowed
├── WeightsError       weights are missing, damaged, or belong to another network
├── DatasetError       a folder of sequences does not have the expected layout, or a file in it cannot be used
└── EvaluationError    a segmenter did not return one mask per picture

Each message states what was given and what is allowed.
"""


class VosError(Exception):
    """Base class of all errors that `vos` raises."""


class PromptError(VosError):
    """The prompt mask cannot be used on this video."""


class OptionError(VosError):
    """An option has a value that is not allowed."""


class WeightsError(VosError):
    """A network's weights are missing, damaged, or of another network."""


class DatasetError(VosError):
    """A folder of evaluation sequences cannot be used."""


class EvaluationError(VosError):
    """A segmenter did not return one mask per picture."""
