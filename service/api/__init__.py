"""The resources over HTTP, one file each."""
