import { describe, expect, test } from "vitest";
import { changedObjects, promptOf } from "../src/edit/edits";
import { applyPatch, History, patchBetween } from "../src/edit/history";
import { paintPolygon, paintStroke, replaceObject } from "../src/edit/paint";
import { davisColor } from "../src/edit/palette";
import { idsOfColors, readMaskPixels } from "../src/edit/picture_mask";

const SIZE = { width: 20, height: 10 };
const PAINT = { object: 2, erase: false };
const blank = (): Uint8Array => new Uint8Array(SIZE.width * SIZE.height);
const count = (map: Uint8Array, id: number): number => map.filter((one) => one === id).length;

describe("the brush", () => {
  test("of one pixel paints the pixel under it, and no other", () => {
    const map = blank();
    paintStroke(map, SIZE, { x: 3.9, y: 2.1 }, { x: 3.9, y: 2.1 }, 1, PAINT);
    expect([...map].flatMap((id, i) => (id ? [i] : []))).toEqual([2 * 20 + 3]);
  });

  test("covers the area of its circle, and leaves no gap along a line", () => {
    const map = blank();
    paintStroke(map, SIZE, { x: 10, y: 5 }, { x: 10, y: 5 }, 8, PAINT);
    expect(Math.abs(count(map, 2) - Math.PI * 16)).toBeLessThan(4);
    const line = blank();
    paintStroke(line, SIZE, { x: 2, y: 5 }, { x: 18, y: 5 }, 2, PAINT);
    for (let x = 2; x < 18; x += 1) expect(line[4 * 20 + x]).toBe(2);
  });

  test("beyond the edge changes nothing", () => {
    const map = blank();
    expect(paintStroke(map, SIZE, { x: -30, y: 5 }, { x: -30, y: 5 }, 8, PAINT)).toBeNull();
    expect(count(map, 0)).toBe(map.length);
  });

  test("that erases takes pixels from its own object only", () => {
    const map = blank().fill(1, 0, 100).fill(2, 100);
    paintStroke(map, SIZE, { x: 0, y: 5 }, { x: 20, y: 5 }, 40, { object: 2, erase: true });
    expect(count(map, 1)).toBe(100);
    expect(count(map, 2)).toBe(0);
  });
});

describe("polygons", () => {
  test("fill what is inside", () => {
    const map = blank();
    paintPolygon(map, SIZE, [{ x: 2, y: 1 }, { x: 12, y: 1 }, { x: 12, y: 7 }, { x: 2, y: 7 }], PAINT);
    expect(count(map, 2)).toBe(60);
    expect(map[1 * 20 + 2]).toBe(2);
    expect(map[7 * 20 + 2]).toBe(0);
  });

  test("leave out what lies outside the picture", () => {
    const map = blank();
    paintPolygon(map, SIZE, [{ x: -50, y: -50 }, { x: 70, y: -50 }, { x: 70, y: 70 }, { x: -50, y: 70 }], PAINT);
    expect(count(map, 2)).toBe(map.length);
  });
});

describe("history", () => {
  test("keeps the changed rectangle, and goes back and on", () => {
    const before = blank();
    const map = blank();
    paintStroke(map, SIZE, { x: 5, y: 5 }, { x: 5, y: 5 }, 4, PAINT);
    const patch = patchBetween(7, before, map, SIZE.width);
    expect(patch?.area).toEqual({ x: 3, y: 3, width: 4, height: 4 });
    const painted = map.slice();
    if (!patch) throw new Error("nothing has changed");
    applyPatch(map, SIZE.width, patch, "before");
    expect(map).toEqual(before);
    applyPatch(map, SIZE.width, patch, "after");
    expect(map).toEqual(painted);
  });

  test("forgets what could be done again once something new is done", () => {
    const history = new History<number>();
    const step = (value: number) => ({ patches: [], before: value - 1, after: value });
    history.add(step(1));
    history.add(step(2));
    expect(history.undo()?.before).toBe(1);
    history.add(step(3));
    expect(history.redo()).toBeUndefined();
    expect(history.undo()?.after).toBe(3);
  });
});

describe("the prompt", () => {
  test("has the objects that changed, also those that are gone", () => {
    const base = blank().fill(1, 0, 20).fill(2, 20, 40).fill(3, 40, 60);
    const map = blank().fill(1, 0, 20).fill(2, 20, 45).fill(0, 45, 60);
    expect(changedObjects(base, map)).toEqual(new Set([2, 3]));
    const entries = promptOf(new Map([[5, { map, base }]]), SIZE, new Map([[2, "dog"]]));
    expect(entries).toMatchObject([{ frame: 5, object: 2, label: "dog" }, { frame: 5, object: 3, absent: true }]);
    expect(entries[0]?.rle?.size).toEqual([10, 20]);
  });

  test("of a box replaces what its object was before, and nothing else", () => {
    const map = Uint8Array.from([1, 1, 2, 0, 1]);
    replaceObject(map, Uint8Array.from([0, 1, 1, 1, 0]), 1);
    expect([...map]).toEqual([0, 1, 1, 1, 0]);
  });
});

describe("masks that are loaded", () => {
  test("keep the ids of the DAVIS palette, and number other colours", () => {
    expect([davisColor(1), davisColor(2), davisColor(15)]).toEqual([0x800000, 0x008000, 0xc08080]);
    expect(idsOfColors([davisColor(3), davisColor(1)])).toEqual(new Map([[davisColor(3), 3], [davisColor(1), 1]]));
    expect(idsOfColors([0xff0000, 0x00ff00])).toEqual(new Map([[0xff0000, 1], [0x00ff00, 2]]));
    expect(idsOfColors([0xffffff])).toEqual(new Map([[0xffffff, 1]]));
  });

  test("that are photos or black are refused", () => {
    const photo = Uint8ClampedArray.from({ length: 4 * 400 }, (_, i) => (i % 4 === 3 ? 255 : (i * 31) % 256));
    expect(() => readMaskPixels(photo.map((v, i) => (i % 4 === 0 ? (i / 4) % 256 : i % 4 === 1 ? i >> 10 : v)))).toThrow("colours");
    expect(() => readMaskPixels(new Uint8ClampedArray(16))).toThrow("black");
  });
});
