"""Base networks of other libraries, each an extra of the distribution, imported when its network is built."""
