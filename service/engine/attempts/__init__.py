"""Attempts at jobs: new masks, and corrections of the masks of another job."""
