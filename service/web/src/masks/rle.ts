/**
 * COCO's compressed run-length encoding (pycocotools, `maskApi.c`: `rleToString`, `rleFrString`).
 *
 * Runs alternate between background and object, column by column. From the third run on, the difference to the run
 * before the last is stored, in digits of five bits with a sign, each as one character.
 */

import type { Rle } from "../api/types";

const FIRST_CHARACTER = 48;
const MORE = 0x20;
const NEGATIVE = 0x10;

/** Return the lengths of the runs; the first one is background. */
export function parseCounts(text: string): number[] {
  const runs: number[] = [];
  for (let at = 0; at < text.length; ) {
    let value = 0;
    let shift = 0;
    let digit = MORE;
    while (digit & MORE && at < text.length) {
      digit = text.charCodeAt(at) - FIRST_CHARACTER;
      value += (digit & 0x1f) * 2 ** shift;
      at += 1;
      shift += 5;
    }
    if (digit & NEGATIVE) value -= 2 ** shift;
    if (runs.length > 2) value += runs[runs.length - 2] ?? 0;
    runs.push(value);
  }
  return runs;
}

/** Return the text of runs. */
export function formatCounts(runs: ArrayLike<number>): string {
  let text = "";
  for (let i = 0; i < runs.length; i += 1) {
    let value = runs[i] ?? 0;
    if (i > 2) value -= runs[i - 2] ?? 0;
    for (let more = true; more; ) {
      let digit = value & 0x1f;
      value >>= 5;
      more = digit & NEGATIVE ? value !== -1 : value !== 0;
      if (more) digit |= MORE;
      text += String.fromCharCode(digit + FIRST_CHARACTER);
    }
  }
  return text;
}

/** Write the object's id into an index map (row by row, `size` of the RLE) where its mask is. */
export function fillRle(map: Uint8Array, rle: Rle, id: number): void {
  const [height, width] = rle.size;
  const runs = parseCounts(rle.counts);
  let position = 0;
  for (let i = 0; i < runs.length; i += 1) {
    const length = runs[i] ?? 0;
    if (i % 2 === 1) {
      let x = Math.floor(position / height);
      let y = position - x * height;
      let at = y * width + x;
      for (let left = length; left > 0; left -= 1) {
        map[at] = id;
        y += 1;
        at += width;
        if (y === height) {
          y = 0;
          x += 1;
          at = x;
        }
      }
    }
    position += length;
  }
}

/** Return the mask of one object of an index map. */
export function encodeRle(map: Uint8Array, width: number, height: number, id: number): Rle {
  const runs: number[] = [];
  let inside = false;
  let length = 0;
  for (let x = 0; x < width; x += 1) {
    for (let y = 0, at = x; y < height; y += 1, at += width) {
      if ((map[at] === id) !== inside) {
        runs.push(length);
        inside = !inside;
        length = 0;
      }
      length += 1;
    }
  }
  runs.push(length);
  return { size: [height, width], counts: formatCounts(runs) };
}
