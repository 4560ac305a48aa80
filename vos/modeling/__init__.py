"""The networks, one part a file. Nothing here knows video files, jobs or HTTP."""
