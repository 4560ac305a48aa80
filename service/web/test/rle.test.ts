import { describe, expect, test } from "vitest";
import { encodeRle, fillRle, formatCounts, parseCounts } from "../src/masks/rle";

/** What `pycocotools.mask.encode` makes of these maps. */
const GOLDEN = [
  { width: 4, height: 3, map: [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1], counts: "321O30" },
  { width: 3, height: 2, map: [1, 1, 1, 1, 1, 1], counts: "06" },
  { width: 3, height: 2, map: [0, 0, 0, 0, 0, 0], counts: "6" },
];

describe("COCO run lengths", () => {
  test.each(GOLDEN)("agree with pycocotools: $counts", ({ width, height, map, counts }) => {
    expect(encodeRle(Uint8Array.from(map), width, height, 1)).toEqual({ size: [height, width], counts });
    const filled = new Uint8Array(map.length);
    fillRle(filled, { size: [height, width], counts }, 1);
    expect([...filled]).toEqual(map);
  });

  test("survive the way to text and back, however long the runs are", () => {
    const runs = [0, 1, 15, 16, 31, 32, 1000, 3, 2_000_000, 7, 33_000_000, 1];
    expect(parseCounts(formatCounts(runs))).toEqual(runs);
  });

  test("of several objects share one map, each with its own id", () => {
    const map = Uint8Array.from({ length: 40 * 30 }, (_, i) => (i * 7919) % 5);
    const again = new Uint8Array(map.length);
    for (const id of [1, 2, 3, 4]) fillRle(again, encodeRle(map, 40, 30, id), id);
    expect(again).toEqual(map);
  });
});
