/** Pointers and wheel on the stage: one pointer uses the tool, two zoom and move, as on a map. */

import { signal } from "@preact/signals";
import { paintPolygon, paintStroke } from "../edit/paint";
import type { FrameEdit } from "../edit/edits";
import { commitEdit, editShownFrame, markShape } from "../state/editing";
import * as state from "../state/state";
import { boxBetween, keepInside, placePicture, toPicture, zoomAt, type Point, type Rect } from "./geometry";
import { redrawMasks } from "./renderer";
import { stageSize } from "./stage_size";

/** A brush stroke in progress. */
interface Stroke {
  frame: number;
  edit: FrameEdit;
  before: Uint8Array;
  last: Point;
}

/** A mask that was made from a box, and what is drawn on its frame since: points refine it while that is all. */
interface BoxMask {
  object: number;
  box: [number, number, number, number];
  edit: FrameEdit | undefined;
}

const CLICK_PIXELS = 4;

export class Gestures {
  /** What the overlay shows of the gesture; positions are pixels of the picture. */
  readonly cursor = signal<Point | null>(null);
  readonly box = signal<Rect | null>(null);
  readonly corners = signal<readonly Point[]>([]);
  readonly points = signal<readonly [Point, 0 | 1][]>([]);

  private readonly pointers = new Map<number, Point>();
  private start_: Point | null = null;
  private stroke: Stroke | null = null;
  private boxMask: BoxMask | null = null;
  private panning = false;
  private spaceHeld = false;

  constructor(private readonly stage: HTMLElement) {}

  start(): () => void {
    const stop = new AbortController();
    const on = <K extends keyof HTMLElementEventMap>(name: K, call: (event: HTMLElementEventMap[K]) => void): void =>
      this.stage.addEventListener(name, call, { signal: stop.signal, passive: false });
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.up(event));
    on("pointerleave", () => (this.cursor.value = null));
    on("wheel", (event) => this.wheel(event));
    on("dblclick", () => this.closePolygon());
    on("contextmenu", (event) => event.preventDefault());
    on("keydown", (event) => this.key(event));
    for (const name of ["keydown", "keyup"] as const) addEventListener(name, (event) => this.space(event), stop);
    const forget = state.frame.subscribe(() => this.cancel());
    return () => {
      stop.abort();
      forget();
    };
  }

  /** Give up what was begun: corners, points, a box. */
  cancel(): void {
    this.box.value = null;
    this.corners.value = [];
    this.points.value = [];
    this.start_ = null;
  }

  private pictureAt(point: Point): Point | null {
    const video = state.video.value;
    return video && toPicture(point, placePicture(stageSize.value, video, state.view.value), video);
  }

  private stagePoint(event: MouseEvent): Point {
    const bounds = this.stage.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  }

  private down(event: PointerEvent): void {
    if (!state.video.value) return;
    this.stage.focus({ preventScroll: true });
    this.stage.setPointerCapture(event.pointerId);
    const point = this.stagePoint(event);
    this.pointers.set(event.pointerId, point);
    if (this.pointers.size === 2) return this.giveUpStroke();
    this.panning = event.button === 1 || this.spaceHeld || state.tool.value === "pan";
    const at = this.pictureAt(point);
    if (this.panning || !at || this.pointers.size > 2) return;
    event.preventDefault();
    this.use(at, event);
  }

  private use(at: Point, event: PointerEvent): void {
    const tool = state.tool.value;
    state.playing.value = false;
    state.following.value = false;
    this.start_ = at;
    if (tool === "points") this.addPoint(at, event.button === 2 || event.altKey ? 0 : 1);
    else if (tool === "polygon") this.addCorner(at);
    else if (tool === "brush" || tool === "eraser") {
      const edit = editShownFrame();
      if (!edit) return;
      this.stroke = { frame: state.frame.value, edit, before: edit.map.slice(), last: at };
      this.paint(at);
    }
  }

  private move(event: PointerEvent): void {
    const point = this.stagePoint(event);
    const at = this.pictureAt(point);
    this.cursor.value = at;
    const before = this.pointers.get(event.pointerId);
    if (!before || !at) return;
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, point);
    else if (this.panning) this.pan(point.x - before.x, point.y - before.y);
    else if (this.stroke) for (const one of event.getCoalescedEvents?.() ?? [event]) this.paint(this.pictureAt(this.stagePoint(one)) ?? at);
    else if (this.start_ && state.tool.value === "box" && state.video.value) {
      this.box.value = boxBetween(this.start_, at, state.video.value);
    }
    this.pointers.set(event.pointerId, point);
  }

  private up(event: PointerEvent): void {
    this.pointers.delete(event.pointerId);
    if (this.stroke) {
      commitEdit(this.stroke.frame, this.stroke.edit, this.stroke.before);
      this.stroke = null;
    }
    const box = this.box.value;
    const scale = (state.video.value?.width ?? 1) / stageSize.value.width;
    if (box && Math.min(box.width, box.height) > (CLICK_PIXELS * scale) / state.view.value.zoom) {
      this.points.value = [];
      void this.mark([box.x, box.y, box.width, box.height]).finally(() => (this.box.value = null));
    } else this.box.value = null;
    this.start_ = null;
    if (!this.pointers.size) this.panning = false;
  }

  private paint(at: Point): void {
    const video = state.video.value;
    if (!this.stroke || !video) return;
    const paint = { object: state.selected.value, erase: state.tool.value === "eraser" };
    const changed = paintStroke(this.stroke.edit.map, video, this.stroke.last, at, state.brushSize.value, paint);
    this.stroke.last = at;
    // The first stroke on a frame draws on a copy, which is shown once the stroke has ended: show it now.
    if (!state.edits.value.has(this.stroke.frame)) {
      state.edits.value = new Map(state.edits.value).set(this.stroke.frame, this.stroke.edit);
    } else redrawMasks(changed);
  }

  private giveUpStroke(): void {
    if (this.stroke) {
      const { frame, edit, before } = this.stroke;
      edit.map.set(before);
      this.stroke = null;
      commitEdit(frame, edit, before);
      redrawMasks();
    }
    this.cancel();
  }

  private addPoint(at: Point, inside: 0 | 1): void {
    this.points.value = [...this.points.value, [at, inside]];
    const made = this.boxMask;
    const isLatest = made?.object === state.selected.value && made.edit === state.edits.value.get(state.frame.value);
    const box = made && isLatest ? made.box : undefined;
    if (box || this.points.value.some(([, one]) => one)) void this.mark(box);
  }

  /** Mark the selected object by a box, by the points, or by both. */
  private async mark(box?: BoxMask["box"]): Promise<void> {
    const { value: frame } = state.frame;
    const object = state.selected.value;
    const points = this.points.value.map(([p, one]): [number, number, 0 | 1] => [Math.floor(p.x), Math.floor(p.y), one]);
    await markShape({ ...(box && { box }), ...(points.length && { points }) });
    this.boxMask = box ? { object, box, edit: state.edits.value.get(frame) } : null;
  }

  private addCorner(at: Point): void {
    const first = this.corners.value[0];
    const scale = (state.video.value?.width ?? 1) / (stageSize.value.width * state.view.value.zoom);
    const closes = first && this.corners.value.length > 2 && Math.hypot(first.x - at.x, first.y - at.y) < 10 * scale;
    if (closes) this.closePolygon();
    else this.corners.value = [...this.corners.value, at];
  }

  private closePolygon(): void {
    const corners = this.corners.value;
    const video = state.video.value;
    this.corners.value = [];
    const edit = corners.length > 2 && video ? editShownFrame() : null;
    if (!edit || !video) return;
    const before = edit.map.slice();
    paintPolygon(edit.map, video, corners, { object: state.selected.value, erase: false });
    commitEdit(state.frame.value, edit, before);
  }

  /** Space moves the picture while the pointer is on the stage, wherever the focus is. */
  private space(event: KeyboardEvent): void {
    if (event.key !== " ") return;
    const types = (event.target as HTMLElement).matches("input[type=text], input[type=number], textarea");
    const isMeant = this.cursor.value !== null && !types;
    if (isMeant) event.preventDefault(); // a button that has the focus is not pressed
    this.spaceHeld = isMeant && event.type === "keydown";
  }

  private key(event: KeyboardEvent): void {
    if (event.key === "Enter") this.closePolygon();
    if (event.key === "Escape") this.cancel();
    if (event.key === "Backspace") this.corners.value = this.corners.value.slice(0, -1);
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const factor = Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015));
    state.view.value = zoomAt(state.view.value, stageSize.value, this.stagePoint(event), factor);
  }

  private pan(x: number, y: number): void {
    const view = state.view.value;
    state.view.value = keepInside({ ...view, x: view.x + x, y: view.y + y }, stageSize.value);
  }

  private pinch(id: number, before: Point, now: Point): void {
    const other = [...this.pointers].find(([one]) => one !== id)?.[1];
    if (!other) return;
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    const factor = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
    state.view.value = zoomAt(state.view.value, stageSize.value, middle, factor);
    this.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
  }
}
