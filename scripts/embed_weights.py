"""Put trained weights of the default network into the package, with their record.

Usage: python scripts/embed_weights.py FILE.safetensors

Checks names and shapes against the network, keeps number types and metadata, and writes
`vos/pretrained/compact.safetensors` and `compact.json` (SHA-256, size, licence), which every load checks.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from vos.build import build_network
from vos.catalog import DEFAULT, PACKAGE_FOLDER
from vos.checkpoint import check_state, read_checkpoint
from vos.errors import WeightsError
from vos.weights import read_metadata, save_weights


def main() -> int:
    """Embed the file that the command line names and return the exit code."""
    parser = argparse.ArgumentParser(description="Put trained weights of the default network into the package.")
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    try:
        state = read_checkpoint(path)
        check_state(state, build_network(DEFAULT).state_dict(), DEFAULT, path.name)
        metadata = read_metadata(path)
    except WeightsError as error:
        print(f"embed_weights: error: {error}", file=sys.stderr)
        return 2
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = f"keymask train, commit {metadata.get('commit', 'unknown')}"
    record = save_weights(DEFAULT, state, PACKAGE_FOLDER, origin=origin, origin_sha256=digest, metadata=metadata)
    print(f"{PACKAGE_FOLDER / DEFAULT}.safetensors: {record.bytes} bytes, SHA-256 {record.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
