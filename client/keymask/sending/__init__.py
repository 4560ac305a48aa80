"""How requests reach the service: connections, retries, downloads and uploads that resume."""
