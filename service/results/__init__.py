"""Writers of results, one format a file; each takes one `vos.types.FrameMask` at a time."""
