/** Where the picture lies on the stage, and the way back from the stage to pixels of the picture. */

export interface Size {
  width: number;
  height: number;
}

export interface Point {
  x: number;
  y: number;
}

export interface Rect extends Point, Size {}

/** Zoom, 1 where the whole picture fits, and how far the picture's centre is from the stage's, in CSS pixels. */
export interface View extends Point {
  zoom: number;
}

export const LARGEST_ZOOM = 32;

/** Return the rectangle of the stage, in CSS pixels, that the picture covers. */
export function placePicture(stage: Size, picture: Size, view: View): Rect {
  const scale = Math.min(stage.width / picture.width, stage.height / picture.height) * view.zoom;
  const width = picture.width * scale;
  const height = picture.height * scale;
  return { x: (stage.width - width) / 2 + view.x, y: (stage.height - height) / 2 + view.y, width, height };
}

/** Return the position in the picture, in its pixels, of a point of the stage. */
export function toPicture(point: Point, placed: Rect, picture: Size): Point {
  return {
    x: ((point.x - placed.x) / placed.width) * picture.width,
    y: ((point.y - placed.y) / placed.height) * picture.height,
  };
}

/** Return the position on the stage of a point of the picture. */
export function toStage(point: Point, placed: Rect, picture: Size): Point {
  return {
    x: placed.x + (point.x / picture.width) * placed.width,
    y: placed.y + (point.y / picture.height) * placed.height,
  };
}

/** Zoom so that the picture stays where it is under `point` (a point of the stage). */
export function zoomAt(view: View, stage: Size, point: Point, factor: number): View {
  const zoom = Math.min(LARGEST_ZOOM, Math.max(1, view.zoom * factor));
  const ratio = zoom / view.zoom;
  const fromCentre = { x: point.x - stage.width / 2, y: point.y - stage.height / 2 };
  return keepInside(
    { zoom, x: fromCentre.x - (fromCentre.x - view.x) * ratio, y: fromCentre.y - (fromCentre.y - view.y) * ratio },
    stage,
  );
}

/** Move the picture back so far that it cannot be lost beyond the edge of the stage. */
export function keepInside(view: View, stage: Size): View {
  const limit = { x: (stage.width * (view.zoom - 1)) / 2, y: (stage.height * (view.zoom - 1)) / 2 };
  const clamp = (value: number, most: number): number => Math.min(most, Math.max(-most, value)) || 0;
  return { zoom: view.zoom, x: clamp(view.x, limit.x), y: clamp(view.y, limit.y) };
}

/** Return the rectangle between two corners, inside the picture and in whole pixels; null if it is empty. */
export function boxBetween(a: Point, b: Point, picture: Size): Rect | null {
  const left = Math.max(0, Math.floor(Math.min(a.x, b.x)));
  const top = Math.max(0, Math.floor(Math.min(a.y, b.y)));
  const right = Math.min(picture.width, Math.ceil(Math.max(a.x, b.x)));
  const bottom = Math.min(picture.height, Math.ceil(Math.max(a.y, b.y)));
  return right > left && bottom > top ? { x: left, y: top, width: right - left, height: bottom - top } : null;
}
