"""The `keymask` command line."""
