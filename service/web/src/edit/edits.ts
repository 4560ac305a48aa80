/** What a person has drawn on some frames, and the prompt that says so to the service. */

import type { PromptEntry } from "../api/types";
import { encodeRle } from "../masks/rle";
import type { Size } from "../stage/geometry";

/** One frame that was drawn on: its masks now, and those of the job before (null where there were none). */
export interface FrameEdit {
  map: Uint8Array;
  base: Uint8Array | null;
}

/** Return the ids of the objects that differ between two maps of a frame. */
export function changedObjects(base: Uint8Array | null, map: Uint8Array): Set<number> {
  const changed = new Set<number>();
  for (let i = 0; i < map.length; i += 1) {
    const before = base ? (base[i] ?? 0) : 0;
    const now = map[i] ?? 0;
    if (before === now) continue;
    if (before) changed.add(before);
    if (now) changed.add(now);
  }
  return changed;
}

/** Return the prompt of all edits: the mask of each object that changed, or that it is no longer in the picture. */
export function promptOf(edits: ReadonlyMap<number, FrameEdit>, size: Size, labels: Map<number, string>): PromptEntry[] {
  const entries: PromptEntry[] = [];
  for (const [frame, { map, base }] of [...edits].sort(([a], [b]) => a - b)) {
    for (const object of [...changedObjects(base, map)].sort((a, b) => a - b)) {
      const label = labels.get(object);
      const about = { frame, object, ...(label ? { label } : {}) };
      if (map.includes(object)) entries.push({ ...about, rle: encodeRle(map, size.width, size.height, object) });
      else entries.push({ frame, object, absent: true });
    }
  }
  return entries;
}
