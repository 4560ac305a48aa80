"""Continue a run that was cut off: its resume state, the traces it leaves, and how a run knows its own."""
