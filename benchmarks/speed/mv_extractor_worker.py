"""Reads videos with mv-extractor and prints the seconds it took. Runs only in the environment that has mv-extractor."""

import sys
from time import perf_counter

from mvextractor.videocap import VideoCap


def main() -> None:
    """Read all frames and their vectors."""
    started = perf_counter()
    for file in sys.argv[1:]:
        capture = VideoCap()
        if not capture.open(file):
            sys.exit(f"{file}: mv-extractor cannot open it")
        while capture.read()[0]:
            pass
        capture.release()
    print(perf_counter() - started)


if __name__ == "__main__":
    main()
