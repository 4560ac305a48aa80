/** Brush and polygon on an index map: one byte per pixel, row by row, 0 where no object is. */

import type { Point, Rect, Size } from "../stage/geometry";

/** What a tool does to the pixels that it covers: give them to an object, or take them away from it. */
export type Paint = { object: number; erase: boolean };

function apply(map: Uint8Array, at: number, { object, erase }: Paint): void {
  if (!erase) map[at] = object;
  else if (map[at] === object) map[at] = 0;
}

/** Paint a round brush from `a` to `b`; a pixel is covered if its centre is. Return what may have changed. */
export function paintStroke(map: Uint8Array, size: Size, a: Point, b: Point, diameter: number, paint: Paint): Rect | null {
  // A brush of one pixel covers the pixel under it, wherever in the pixel it is.
  if (diameter <= 1) {
    const steps = Math.max(1, Math.ceil(Math.max(Math.abs(b.x - a.x), Math.abs(b.y - a.y))));
    for (let i = 0; i <= steps; i += 1) {
      const x = Math.floor(a.x + ((b.x - a.x) * i) / steps);
      const y = Math.floor(a.y + ((b.y - a.y) * i) / steps);
      if (x >= 0 && y >= 0 && x < size.width && y < size.height) apply(map, y * size.width + x, paint);
    }
    return bounds(a, b, 1, size);
  }
  const radius = diameter / 2;
  const area = bounds(a, b, radius, size);
  if (!area) return null;
  const along = { x: b.x - a.x, y: b.y - a.y };
  const length = along.x ** 2 + along.y ** 2;
  for (let y = area.y; y < area.y + area.height; y += 1) {
    for (let x = area.x; x < area.x + area.width; x += 1) {
      const from = { x: x + 0.5 - a.x, y: y + 0.5 - a.y };
      const share = length ? Math.min(1, Math.max(0, (from.x * along.x + from.y * along.y) / length)) : 0;
      const distance = (from.x - share * along.x) ** 2 + (from.y - share * along.y) ** 2;
      if (distance <= radius ** 2) apply(map, y * size.width + x, paint);
    }
  }
  return area;
}

function bounds(a: Point, b: Point, radius: number, size: Size): Rect | null {
  const left = Math.max(0, Math.floor(Math.min(a.x, b.x) - radius));
  const top = Math.max(0, Math.floor(Math.min(a.y, b.y) - radius));
  const right = Math.min(size.width, Math.ceil(Math.max(a.x, b.x) + radius));
  const bottom = Math.min(size.height, Math.ceil(Math.max(a.y, b.y) + radius));
  return right > left && bottom > top ? { x: left, y: top, width: right - left, height: bottom - top } : null;
}

/** Fill a polygon by the even-odd rule; a pixel is inside if its centre is. */
export function paintPolygon(map: Uint8Array, size: Size, corners: readonly Point[], paint: Paint): void {
  for (let y = 0; y < size.height; y += 1) {
    const crossings = crossingsOf(corners, y + 0.5);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const first = Math.max(0, Math.ceil((crossings[i] ?? 0) - 0.5));
      const last = Math.min(size.width - 1, Math.ceil((crossings[i + 1] ?? 0) - 0.5) - 1);
      for (let x = first; x <= last; x += 1) apply(map, y * size.width + x, paint);
    }
  }
}

/** Return where the polygon's edges cross a horizontal line, from left to right. */
function crossingsOf(corners: readonly Point[], y: number): number[] {
  const found: number[] = [];
  corners.forEach((a, i) => {
    const b = corners[(i + 1) % corners.length] ?? a;
    if (a.y <= y !== b.y <= y) found.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
  });
  return found.sort((one, other) => one - other);
}

/** Replace one object's pixels by those of another map that has only this object. */
export function replaceObject(map: Uint8Array, mask: Uint8Array, object: number): void {
  for (let i = 0; i < map.length; i += 1) {
    if (mask[i] === object) map[i] = object;
    else if (map[i] === object) map[i] = 0;
  }
}
