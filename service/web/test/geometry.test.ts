import { describe, expect, test } from "vitest";
import { boxBetween, keepInside, placePicture, toPicture, toStage, zoomAt } from "../src/stage/geometry";

const STAGE = { width: 960, height: 600 };
const VIDEO = { width: 1920, height: 1080 };
const WHOLE = { zoom: 1, x: 0, y: 0 };

describe("the picture on the stage", () => {
  test("fits, in its own shape and in the middle", () => {
    expect(placePicture(STAGE, VIDEO, WHOLE)).toEqual({ x: 0, y: 30, width: 960, height: 540 });
  });

  test("maps points there and back", () => {
    const placed = placePicture(STAGE, VIDEO, { zoom: 3, x: 40, y: -25 });
    const point = { x: 123, y: 456 };
    const back = toPicture(toStage(point, placed, VIDEO), placed, VIDEO);
    expect(back.x).toBeCloseTo(point.x);
    expect(back.y).toBeCloseTo(point.y);
  });

  test("stays under the pointer while it is zoomed", () => {
    const pointer = { x: 700, y: 350 };
    const before = toPicture(pointer, placePicture(STAGE, VIDEO, WHOLE), VIDEO);
    const view = zoomAt(WHOLE, STAGE, pointer, 2.5);
    const after = toPicture(pointer, placePicture(STAGE, VIDEO, view), VIDEO);
    expect(after.x).toBeCloseTo(before.x);
    expect(after.y).toBeCloseTo(before.y);
  });

  test("cannot be moved off the stage, nor be made smaller than the stage", () => {
    expect(keepInside({ zoom: 2, x: 9999, y: -9999 }, STAGE)).toEqual({ zoom: 2, x: 480, y: -300 });
    expect(zoomAt(WHOLE, STAGE, { x: 0, y: 0 }, 0.1)).toEqual(WHOLE);
  });
});

describe("rectangles", () => {
  test("of a drag are whole pixels inside the picture, in whatever direction it goes", () => {
    expect(boxBetween({ x: 30.6, y: 20.2 }, { x: -5, y: 9.9 }, VIDEO)).toEqual({ x: 0, y: 9, width: 31, height: 12 });
    expect(boxBetween({ x: -9, y: -9 }, { x: -1, y: -1 }, VIDEO)).toBeNull();
  });
});
