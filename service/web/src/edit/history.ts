/** Undo and redo. A step keeps only the rectangle that it changed, before and after. */

import type { Rect } from "../stage/geometry";

export interface Patch {
  frame: number;
  area: Rect;
  before: Uint8Array;
  after: Uint8Array;
}

/** One step: changed pixels, and what else changed with them (`State` is the list of objects). */
export interface Step<State> {
  patches: Patch[];
  before: State;
  after: State;
}

const MOST_BYTES = 256 << 20;

/** Return what changed between two maps of a frame; null if nothing did. */
export function patchBetween(frame: number, before: Uint8Array, after: Uint8Array, width: number): Patch | null {
  let [left, top, right, bottom] = [width, Infinity, -1, -1];
  for (let i = 0; i < after.length; i += 1) {
    if (before[i] === after[i]) continue;
    const x = i % width;
    const y = (i - x) / width;
    if (x < left) left = x;
    if (x > right) right = x;
    if (y < top) top = y;
    bottom = y;
  }
  if (bottom < 0) return null;
  const area = { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
  return { frame, area, before: cut(before, width, area), after: cut(after, width, area) };
}

function cut(map: Uint8Array, width: number, area: Rect): Uint8Array {
  const part = new Uint8Array(area.width * area.height);
  for (let y = 0; y < area.height; y += 1) {
    const start = (area.y + y) * width + area.x;
    part.set(map.subarray(start, start + area.width), y * area.width);
  }
  return part;
}

/** Write one side of a patch back into the map of its frame. */
export function applyPatch(map: Uint8Array, width: number, patch: Patch, side: "before" | "after"): void {
  const { area } = patch;
  for (let y = 0; y < area.height; y += 1) {
    map.set(patch[side].subarray(y * area.width, (y + 1) * area.width), (area.y + y) * width + area.x);
  }
}

/** The steps that can be undone and redone; the oldest are dropped beyond 256 MiB. */
export class History<State> {
  private past: Step<State>[] = [];
  private future: Step<State>[] = [];

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  add(step: Step<State>): void {
    this.past.push(step);
    this.future = [];
    while (this.past.length > 1 && this.bytes() > MOST_BYTES) this.past.shift();
  }

  /** Return the step to take back, if there is one. */
  undo(): Step<State> | undefined {
    const step = this.past.pop();
    if (step) this.future.push(step);
    return step;
  }

  /** Return the step to do again, if there is one. */
  redo(): Step<State> | undefined {
    const step = this.future.pop();
    if (step) this.past.push(step);
    return step;
  }

  /** Whether a step that stands has changed the frame. */
  touches(frame: number): boolean {
    return this.past.some((step) => step.patches.some((patch) => patch.frame === frame));
  }

  clear(): void {
    this.past = [];
    this.future = [];
  }

  private bytes(): number {
    return this.past.reduce((sum, step) => sum + step.patches.reduce((s, p) => s + 2 * p.before.length, 0), 0);
  }
}
