"""Parse H.264 headers and track reference frames (ITU-T H.264, clauses 7 and 8)."""
