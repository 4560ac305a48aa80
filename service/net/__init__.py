"""Connections that the service opens to other servers."""
