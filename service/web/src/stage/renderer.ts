/** Draws the current frame and its masks on the two lower canvases of the stage. */

import { effect } from "@preact/signals";
import { ServiceError } from "../api/client";
import { colorize, inksOf } from "../masks/colorize";
import { decodeMask, revision, trackOf } from "../masks/tracks";
import { reportError } from "../state/messages";
import * as state from "../state/state";
import type { Rect, Size } from "./geometry";
import type { Origin } from "../api/jobs";
import { frameIfReady, loadFrame, prefetch, widthFor } from "./frames";

const AHEAD = 8;
const WANTED_AT_ONCE = 2;
/** How long a frame is shown before those after it are fetched ahead: a seek passes over most frames. */
const REST_MILLISECONDS = 120;

/** Masks of the frame on the stage: what is drawn and edited, and what was there before. */
export interface ShownMasks {
  frame: number;
  map: Uint8Array;
  before: Uint8Array | null;
}

let shown: ShownMasks | null = null;
let canvases: { picture: HTMLCanvasElement; masks: HTMLCanvasElement } | null = null;
let pictureWidth = 960;

export const shownMasks = (): ShownMasks | null => shown;
export const shownWidth = (): number => pictureWidth;

/** Draw on these canvases until the returned function is called. `stageWidth` is in device pixels. */
export function startRenderer(picture: HTMLCanvasElement, masks: HTMLCanvasElement, stageWidth: () => number): () => void {
  canvases = { picture, masks };
  const stopPictures = effect(() => drawPicture(picture, stageWidth()));
  const stopMasks = effect(() => updateMasks());
  return () => {
    stopPictures();
    stopMasks();
    canvases = null;
  };
}

interface WantedPicture {
  origin: Origin;
  index: number;
  width: number;
  isLoading: boolean;
}

let wanted: WantedPicture | null = null;
let loading = 0;
let rest = 0;

function drawPicture(canvas: HTMLCanvasElement, stageWidth: number): void {
  const origin = state.origin.value;
  const video = state.video.value;
  const index = state.frame.value;
  if (!origin || !video) return;
  pictureWidth = widthFor(stageWidth * Math.min(2, Math.max(1, state.view.value.zoom)), video.width);
  const isWanted = wanted?.origin.id === origin.id && wanted.index === index && wanted.width === pictureWidth;
  if (isWanted && canvas.width > 300) return;
  wanted = { origin, index, width: pictureWidth, isLoading: false };
  const ready = frameIfReady(origin, index, pictureWidth);
  if (ready) putPicture(canvas, ready);
  else loadWanted(canvas);
  clearTimeout(rest);
  if (state.playing.value) prefetchFrom(wanted, video.frames);
  else rest = window.setTimeout(prefetchFrom, REST_MILLISECONDS, wanted, video.frames);
}

/** Load the picture that is wanted now. During a seek, frames that it has passed over by then are not loaded. */
function loadWanted(canvas: HTMLCanvasElement): void {
  const one = wanted;
  if (!one || one.isLoading || loading >= WANTED_AT_ONCE) return;
  one.isLoading = true;
  loading += 1;
  loadFrame(one.origin, one.index, one.width)
    .then(
      (bitmap) => one === wanted && putPicture(canvas, bitmap),
      (error: unknown) => one === wanted && missingPicture(error),
    )
    .finally(() => {
      loading -= 1;
      loadWanted(canvas);
    });
}

function prefetchFrom({ origin, index, width }: WantedPicture, frames: number | null | undefined): void {
  const last = (frames ?? Infinity) - 1;
  const next = Array.from({ length: state.playing.peek() ? 3 * AHEAD : AHEAD }, (_, i) => index + 1 + i);
  prefetch(origin, [...next.filter((i) => i <= last), index - 1].filter((i) => i >= 0), width);
}

function putPicture(canvas: HTMLCanvasElement, bitmap: ImageBitmap): void {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  canvas.dataset.frame = String(state.frame.value);
}

/** The container's count of frames may be an estimate; the service knows better once it has looked. */
function missingPicture(error: unknown): void {
  wanted = null;
  const video = state.video.value;
  const index = state.frame.value;
  if (error instanceof ServiceError && error.kind === "frame-not-found" && video && index > 0) {
    state.video.value = { ...video, frames: index };
    state.frame.value = index - 1;
  } else reportError(error);
}

let masksKey = "";

/** Fetch the masks of the frame if they are not the ones that are shown, and draw them. */
function updateMasks(): void {
  const frame = state.frame.value;
  const job = state.job.value?.id ?? "";
  const parent = state.parentId.value ?? "";
  const edit = state.edits.value.get(frame);
  const compares = state.compare.value !== "off";
  void revision.value;
  // What the drawing itself depends on, read here so that the effect runs again when it changes.
  void [state.objects.value, state.opacity.value, state.split.value, state.video.value];
  const source = job && trackOf(job).has(frame) ? job : parent && trackOf(parent).has(frame) ? parent : "";
  const key = `${job}/${frame}/${source}/${compares}/${edit ? "edited" : ""}`;
  if (edit) {
    shown = { frame, map: edit.map, before: edit.base };
    masksKey = key;
    if (!compares || edit.base) return redrawMasks();
    return void before(parent, frame).then((map) => setShown(key, frame, edit.map, map));
  }
  if (key === masksKey && shown?.frame === frame) return redrawMasks();
  masksKey = key;
  shown = null;
  const loading = source ? decodeMask(source, frame) : Promise.resolve(null);
  void Promise.all([loading, compares ? before(parent, frame) : null]).then(([map, old]) =>
    setShown(key, frame, map, old),
  );
}

const before = (parent: string, frame: number): Promise<Uint8Array | null> =>
  parent ? decodeMask(parent, frame) : Promise.resolve(null);

function setShown(key: string, frame: number, map: Uint8Array | null, old: Uint8Array | null): void {
  if (key !== masksKey) return;
  const size = sizeOf();
  if (!size) return;
  const pixels = size.width * size.height;
  // An answer of another size is that of an empty frame.
  shown = { frame, map: map?.length === pixels ? map : new Uint8Array(pixels), before: old?.length ? old : null };
  redrawMasks();
}

const sizeOf = (): Size | null => state.video.peek();

/** Draw the masks again, all of them or those in an area that a brush has changed. */
export function redrawMasks(area?: Rect | null): void {
  const size = sizeOf();
  const canvas = canvases?.masks;
  const context = canvas?.getContext("2d");
  if (!size || !canvas || !context) return;
  if (canvas.width !== size.width || canvas.height !== size.height) {
    canvas.width = size.width;
    canvas.height = size.height;
  }
  canvas.dataset.frame = shown ? String(shown.frame) : "";
  if (!shown || shown.map.length !== size.width * size.height) return context.clearRect(0, 0, size.width, size.height);
  const inks = inksOf(state.objects.peek(), state.opacity.peek());
  const compare = state.compare.peek();
  const whole = { x: 0, y: 0, width: size.width, height: size.height };
  const empty = new Uint8Array(compare === "off" ? 0 : shown.map.length);
  if (compare === "before") return draw(context, shown.before ?? empty, size, whole, inks);
  draw(context, shown.map, size, area ? grown(area, size) : whole, inks);
  if (compare === "split") {
    const left = { ...whole, width: Math.max(1, Math.round(size.width * state.split.peek())) };
    draw(context, shown.before ?? empty, size, left, inks);
  }
}

function draw(context: CanvasRenderingContext2D, map: Uint8Array, size: Size, area: Rect, inks: ReturnType<typeof inksOf>): void {
  context.putImageData(colorize(map, size, area, inks), area.x, area.y);
}

/** One pixel more on each side, whose outline may change. */
function grown(area: Rect, size: Size): Rect {
  const x = Math.max(0, area.x - 1);
  const y = Math.max(0, area.y - 1);
  const right = Math.min(size.width, area.x + area.width + 1);
  const bottom = Math.min(size.height, area.y + area.height + 1);
  return { x, y, width: right - x, height: bottom - y };
}
