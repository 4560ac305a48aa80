/** Pictures of frames: exact ones from the service, remembered and fetched ahead. */

import { request, ServiceError } from "../api/client";
import { pathOf, type Origin } from "../api/jobs";

const MOST_BYTES = 384 << 20;
const AHEAD_AT_ONCE = 4;
const WIDTHS = [480, 960, 1440, 1920, 2880, 3840];

interface Entry {
  bitmap: Promise<ImageBitmap>;
  ready: ImageBitmap | null;
}

const entries = new Map<string, Entry>();
let ahead: string[] = [];
let loading = 0;

/** Return the width to ask for: of a few, since each is a file of its own, the first that is sharp on the stage. */
export function widthFor(devicePixels: number, videoWidth: number): number {
  const width = WIDTHS.find((one) => one >= devicePixels) ?? videoWidth;
  return Math.max(16, Math.min(width, videoWidth));
}

const addressOf = (origin: Origin, index: number, width: number): string =>
  `${pathOf(origin)}/frames/${index}?width=${width}`;

/** Return a frame's picture if it is here already. */
export function frameIfReady(origin: Origin, index: number, width: number): ImageBitmap | null {
  return entries.get(addressOf(origin, index, width))?.ready ?? null;
}

/** Return a frame's picture. Raises ServiceError, `frame-not-found` behind the last frame. */
export function loadFrame(origin: Origin, index: number, width: number): Promise<ImageBitmap> {
  return load(addressOf(origin, index, width));
}

function load(path: string): Promise<ImageBitmap> {
  const known = entries.get(path);
  if (known) {
    entries.delete(path);
    entries.set(path, known); // the last to be dropped
    return known.bitmap;
  }
  const entry: Entry = { bitmap: fetchPicture(path), ready: null };
  entries.set(path, entry);
  entry.bitmap.then(
    (bitmap) => {
      entry.ready = bitmap;
      dropOldest();
    },
    () => entries.delete(path),
  );
  return entry.bitmap;
}

async function fetchPicture(path: string): Promise<ImageBitmap> {
  // JPEG is several times faster to make than WebP, which matters more on one machine than its size.
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await request(path, { headers: { Accept: "image/jpeg" } });
      return await createImageBitmap(await answer.blob());
    } catch (error) {
      const busy = error instanceof ServiceError && (error.status === 429 || error.status === 503);
      if (!busy || tries >= 4) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** tries));
    }
  }
}

/** Fetch frames that are likely to be shown next, the first ones first; forget what was planned before. */
export function prefetch(origin: Origin, indices: readonly number[], width: number): void {
  ahead = indices.map((index) => addressOf(origin, index, width)).filter((path) => !entries.has(path));
  while (loading < AHEAD_AT_ONCE && ahead.length) void loadNext();
}

async function loadNext(): Promise<void> {
  const path = ahead.shift();
  if (!path) return;
  loading += 1;
  await load(path).catch(() => undefined);
  loading -= 1;
  void loadNext();
}

function dropOldest(): void {
  let bytes = 0;
  for (const [path, { ready }] of [...entries].reverse()) {
    if (!ready) continue;
    bytes += ready.width * ready.height * 4;
    if (bytes > MOST_BYTES) {
      ready.close();
      entries.delete(path);
    }
  }
}
