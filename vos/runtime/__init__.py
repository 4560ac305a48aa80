"""How frames are run: waves, thread pools, timing, resume state, device."""
