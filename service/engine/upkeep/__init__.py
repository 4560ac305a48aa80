"""What runs beside the supervisor and may wait: removal, expiry, sweeps and signs of life."""
