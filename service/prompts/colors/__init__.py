"""Which colors a mask has, which of them is the background, and how colors are named."""
