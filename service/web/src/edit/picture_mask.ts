/** Reads a mask that another program has drawn: each colour but black is an object. */

import { davisColor } from "./palette";

const MOST_OBJECTS = 255;

/** Return the object id of each colour (0xrrggbb) of a mask: its index in the DAVIS palette, or a number in order. */
export function idsOfColors(colors: readonly number[]): Map<number, number> {
  const palette = new Map(Array.from({ length: MOST_OBJECTS }, (_, i) => [davisColor(i + 1), i + 1]));
  const all = colors.every((color) => palette.has(color));
  const grey = colors.length === 1;
  const ids = new Map<number, number>();
  colors.forEach((color, i) => ids.set(color, all && !grey ? (palette.get(color) ?? i + 1) : i + 1));
  return ids;
}

/** Return the index map of RGBA pixels. Raises Error if they have more colours than there can be objects. */
export function readMaskPixels(pixels: Uint8ClampedArray | Uint8Array): Uint8Array {
  const count = pixels.length / 4;
  const found = new Set<number>();
  for (let i = 0; i < count; i += 1) {
    const color = colorAt(pixels, i);
    if (color) found.add(color);
    if (found.size > MOST_OBJECTS) {
      throw new Error(`The picture has more than ${MOST_OBJECTS} colours, so it is not a mask. Each object needs one flat colour.`);
    }
  }
  if (!found.size) throw new Error("The mask is black: it marks no object.");
  const ids = idsOfColors([...found]);
  return Uint8Array.from({ length: count }, (_, i) => ids.get(colorAt(pixels, i)) ?? 0);
}

function colorAt(pixels: Uint8ClampedArray | Uint8Array, i: number): number {
  const alpha = pixels[4 * i + 3] ?? 0;
  if (alpha < 128) return 0;
  return ((pixels[4 * i] ?? 0) << 16) | ((pixels[4 * i + 1] ?? 0) << 8) | (pixels[4 * i + 2] ?? 0);
}

/** Read a picture file of the video's size. Raises Error with a reason that a person understands. */
export async function readMaskFile(file: Blob, width: number, height: number): Promise<Uint8Array> {
  const picture = await createImageBitmap(file).catch(() => {
    throw new Error("The browser cannot read this picture. Load a PNG.");
  });
  if (picture.width !== width || picture.height !== height) {
    throw new Error(`The mask is ${picture.width} x ${picture.height} pixels; the video is ${width} x ${height}.`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("The browser cannot draw.");
  context.drawImage(picture, 0, 0);
  return readMaskPixels(context.getImageData(0, 0, width, height).data);
}
