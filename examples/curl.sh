#!/usr/bin/env bash
# Segment a video with curl alone: post it, follow the masks, download the result.
#   examples/curl.sh VIDEO MASK [URL]
set -euo pipefail
video=$1 mask=$2 url=${3:-http://localhost:8000}

# Post the job; its address is in the Location header.
job=$(curl --silent --show-error --fail-with-body --form "mask=@$mask" --form "video=@$video" \
  --dump-header - --output /dev/null "$url/v1/jobs" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')

# One line per frame while the job runs; the stream ends with the job.
curl --silent --show-error --fail-with-body --no-buffer "$url$job/masks" | while IFS= read -r line; do
  printf 'frame %s\n' "$(printf '%s' "$line" | sed 's/^{"index": *\([0-9]*\).*/\1/')"
done

# All masks as a zip of indexed PNGs.
curl --silent --show-error --fail-with-body --output masks.zip "$url$job/result?format=png"
echo "wrote masks.zip"
