"""Who may call the service: API keys, and requests that a browser sends for another site."""
