"""Decode untrusted files in processes of their own."""
