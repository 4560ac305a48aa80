"""Writers of result formats, one format per file."""
