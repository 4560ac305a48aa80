"""Workers as detached actors of a Ray cluster, between a minimum and a maximum by the length of the queue."""
