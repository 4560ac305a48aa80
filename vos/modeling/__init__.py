"""The networks, one part per file. Nothing here knows video files, jobs or HTTP."""
