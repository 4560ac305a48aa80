"""What a run reads: the video as it is given, its length, the frames that options name, the size of analysis."""
