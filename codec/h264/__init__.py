"""Parse the H.264 headers that motion analysis needs (ITU-T H.264, clauses 7 and 8)."""
