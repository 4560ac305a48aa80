/** Turns index maps into pixels: a see-through fill, and an opaque outline that shows where a mask ends. */

import { rgbOf } from "../edit/palette";
import type { Rect, Size } from "../stage/geometry";

/** Colours by object id, as RGBA in the byte order of this machine; 0 draws nothing. */
export interface Inks {
  fill: Uint32Array;
  edge: Uint32Array;
}

export function inksOf(objects: readonly { id: number; color: string; visible: boolean }[], opacity: number): Inks {
  const inks = { fill: new Uint32Array(256), edge: new Uint32Array(256) };
  for (const { id, color, visible } of objects) {
    if (!visible) continue;
    const [red, green, blue] = rgbOf(color);
    inks.fill[id] = pack(red, green, blue, Math.round(opacity * 255));
    inks.edge[id] = pack(red, green, blue, Math.round(Math.min(1, opacity * 3) * 255));
  }
  return inks;
}

function pack(red: number, green: number, blue: number, alpha: number): number {
  const bytes = new Uint8Array([red, green, blue, alpha]);
  return new Uint32Array(bytes.buffer)[0] ?? 0;
}

/** Return the pixels of `area`. An object's pixel is on its edge if a neighbour belongs to something else. */
export function colorize(map: Uint8Array, size: Size, area: Rect, inks: Inks): ImageData {
  const { width, height } = size;
  const image = new ImageData(area.width, area.height);
  const out = new Uint32Array(image.data.buffer);
  for (let y = area.y, to = 0; y < area.y + area.height; y += 1) {
    let at = y * width + area.x;
    for (let x = area.x; x < area.x + area.width; x += 1, at += 1, to += 1) {
      const id = map[at] as number;
      if (id === 0) continue;
      const onEdge =
        (x > 0 && map[at - 1] !== id) ||
        (x < width - 1 && map[at + 1] !== id) ||
        (y > 0 && map[at - width] !== id) ||
        (y < height - 1 && map[at + width] !== id);
      out[to] = (onEdge ? inks.edge[id] : inks.fill[id]) as number;
    }
  }
  return image;
}
