"""The way in: who calls, what is logged of it, and what a browser sends for another site."""
