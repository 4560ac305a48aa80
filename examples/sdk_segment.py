"""Segments a video and stores the masks as one numpy file.

python examples/sdk_segment.py VIDEO MASK [URL]
"""

import sys

import numpy as np
from keymask import Client


def main(video: str, mask: str, url: str = "http://localhost:8000") -> None:
    """Upload the video, wait, and download all masks."""
    with Client(url) as client:
        track = client.segment(video, mask, progress=True)
    np.savez_compressed("masks.npz", masks=track.masks, times=track.times)
    network = sum(source in ("prompt", "key") for source in track.sources)
    print(f"wrote {len(track)} masks to masks.npz; the network ran on {network} of the frames")


if __name__ == "__main__":
    main(*sys.argv[1:])
