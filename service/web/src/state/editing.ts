/** Changes to masks and objects, each as one step of the history. */

import { makeMasks } from "../api/jobs";
import type { PromptEntry } from "../api/types";
import type { FrameEdit } from "../edit/edits";
import { applyPatch, History, patchBetween, type Patch } from "../edit/history";
import { replaceObject } from "../edit/paint";
import { colorOf } from "../edit/palette";
import { readMaskFile } from "../edit/picture_mask";
import { fillRle } from "../masks/rle";
import { shownMasks } from "../stage/renderer";
import { attempt, say } from "./messages";
import * as state from "./state";
import type { ObjectInfo } from "./state";

const history = new History<ObjectInfo[]>();
/** Edits that were taken back completely, from which they can be done again. */
const undone = new Map<number, FrameEdit>();
const MOST_OBJECTS = 255;

/** Return the edit of the frame on the stage, which begins with the masks that are shown; null while they load. */
export function editShownFrame(): FrameEdit | null {
  const frame = state.frame.value;
  const known = state.edits.value.get(frame);
  if (known) return known;
  const shown = shownMasks();
  if (!shown || shown.frame !== frame) return null;
  return { map: shown.map.slice(), base: state.job.value ? shown.map : null };
}

/** Keep what was drawn on a frame as one step. `before` is its map before. */
export function commitEdit(frame: number, edit: FrameEdit, before: Uint8Array, objects = state.objects.value): void {
  const width = state.video.value?.width ?? 1;
  const patch = patchBetween(frame, before, edit.map, width);
  const edits = new Map(state.edits.value).set(frame, edit);
  if (patch) return commit([patch], objects, edits);
  // A stroke that changed nothing, or was given up, leaves no edit behind.
  if (!history.touches(frame)) edits.delete(frame);
  state.edits.value = edits;
}

function commit(patches: Patch[], objects: ObjectInfo[], edits: ReadonlyMap<number, FrameEdit>): void {
  history.add({ patches, before: state.objects.value, after: objects });
  state.objects.value = objects;
  state.edits.value = edits;
  updateButtons();
}

export const undoEdit = (): void => travel(history.undo(), "before");
export const redoEdit = (): void => travel(history.redo(), "after");

function travel(step: ReturnType<typeof history.undo>, side: "before" | "after"): void {
  if (!step) return;
  const edits = new Map(state.edits.value);
  for (const patch of step.patches) {
    const edit = edits.get(patch.frame) ?? undone.get(patch.frame);
    if (!edit) continue;
    applyPatch(edit.map, state.video.value?.width ?? 1, patch, side);
    if (side === "before" && !history.touches(patch.frame)) {
      edits.delete(patch.frame);
      undone.set(patch.frame, edit);
    } else edits.set(patch.frame, { ...edit });
    state.frame.value = patch.frame;
  }
  state.objects.value = step[side];
  state.edits.value = edits;
  updateButtons();
}

function updateButtons(): void {
  state.canUndo.value = history.canUndo;
  state.canRedo.value = history.canRedo;
}

/** Forget all edits: another video or job is shown, or they were sent. */
export function clearEdits(): void {
  history.clear();
  undone.clear();
  state.edits.value = new Map();
  updateButtons();
}

export function newObject(id = nextId()): ObjectInfo {
  return { id, label: `Object ${id}`, color: colorOf(id), visible: true };
}

function nextId(): number {
  const used = new Set(state.objects.value.map((object) => object.id));
  let id = 1;
  while (used.has(id)) id += 1;
  return id;
}

export function addObject(): void {
  if (state.objects.value.length >= MOST_OBJECTS) return say(`A job can have ${MOST_OBJECTS} objects.`);
  const object = newObject();
  state.objects.value = [...state.objects.value, object];
  state.selected.value = object.id;
}

export function changeObject(id: number, change: Partial<ObjectInfo>): void {
  state.objects.value = state.objects.value.map((one) => (one.id === id ? { ...one, ...change } : one));
}

/** Remove an object that is not in the job, with what was drawn for it. */
export function removeObject(id: number): void {
  const edits = new Map(state.edits.value);
  const patches: Patch[] = [];
  const width = state.video.value?.width ?? 1;
  for (const [frame, edit] of edits) {
    const before = edit.map.slice();
    edit.map.forEach((one, i) => one === id && (edit.map[i] = 0));
    const patch = patchBetween(frame, before, edit.map, width);
    if (patch) patches.push(patch);
    edits.set(frame, { ...edit });
  }
  const left = state.objects.value.filter((one) => one.id !== id);
  const objects = left.length ? left : [newObject(1)];
  commit(patches, objects, edits);
  if (state.selected.value === id) state.selected.value = objects[0]?.id ?? 1;
}

/** Take the selected object away from this frame: it is not in the picture. */
export function eraseSelected(): void {
  const edit = editShownFrame();
  if (!edit) return;
  const before = edit.map.slice();
  const id = state.selected.value;
  edit.map.forEach((one, i) => one === id && (edit.map[i] = 0));
  commitEdit(state.frame.value, edit, before);
}

const markings = new Map<string, AbortController>();

/** Ask the service for the mask of a box or of points, and draw it for the selected object, unless it is marked anew. */
export async function markShape(shape: Pick<PromptEntry, "box" | "points">): Promise<void> {
  const origin = state.origin.value;
  const edit = editShownFrame();
  if (!origin || !edit) return say("This frame is still being loaded. Try again in a moment.");
  const frame = state.frame.value;
  const object = state.selected.value;
  const place = `${origin.id}/${frame}/${object}`;
  const marking = new AbortController();
  markings.get(place)?.abort();
  markings.set(place, marking);
  await attempt("Finding the object…", async () => {
    const made = await makeMasks(origin, [{ frame, object, ...shape }], marking.signal);
    if (marking.signal.aborted) return;
    markings.delete(place);
    const mask = new Uint8Array(edit.map.length);
    for (const one of made.objects) fillRle(mask, one.rle, one.id);
    const now = state.edits.value.get(frame) ?? edit;
    const before = now.map.slice();
    replaceObject(now.map, mask, object);
    commitEdit(frame, now, before);
    if (made.notes[0]) say(made.notes[0]);
  });
}

/** Use a picture as the masks of this frame. Objects that it has and the list has not are added. */
export async function loadMaskPicture(file: Blob): Promise<void> {
  const video = state.video.value;
  const edit = editShownFrame();
  if (!video || !edit) return;
  await attempt("Reading the mask…", async () => {
    const mask = await readMaskFile(file, video.width, video.height);
    const before = edit.map.slice();
    edit.map.set(mask);
    const known = new Set(state.objects.value.map((object) => object.id));
    const added = [...new Set(mask)].filter((id) => id && !known.has(id)).sort((a, b) => a - b);
    commitEdit(state.frame.value, edit, before, [...state.objects.value, ...added.map((id) => newObject(id))]);
  });
}
