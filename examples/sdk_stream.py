"""Prints the position of the first object in each frame while the job runs.

python examples/sdk_stream.py VIDEO MASK [URL]
"""

import sys

from keymask import Client


def main(video: str, mask: str, url: str = "http://localhost:8000") -> None:
    """Submit the video and follow its masks."""
    with Client(url) as client:
        for frame in client.stream(video, mask):
            for item in frame.objects[:1]:
                x, y, width, height = item.bbox
                print(f"{frame.time:7.3f} s  {frame.source:10}  {width:.0f}x{height:.0f} at {x:.0f},{y:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
