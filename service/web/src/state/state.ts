/** Everything that the page shows, as signals. The other files of this folder change them. */

import { computed, signal } from "@preact/signals";
import type { Origin } from "../api/jobs";
import type { Job, Model, Probe, ReviewRange, Video } from "../api/types";
import type { FrameEdit } from "../edit/edits";
import type { View } from "../stage/geometry";

export interface ObjectInfo {
  id: number;
  label: string;
  color: string;
  visible: boolean;
}

export type Tool = "pan" | "box" | "points" | "brush" | "eraser" | "polygon";
export type Dialog = "jobs" | "help" | "export" | "login" | null;
export type Compare = "off" | "before" | "split";

/** The video: where its frames come from, and the file itself until the service has it. */
export const origin = signal<Origin | null>(null);
export const localFile = signal<File | null>(null);
export const clipName = signal("");
export const video = signal<Video | null>(null);
export const probe = signal<Probe | null>(null);
export const upload = signal<{ sent: number; total: number; waiting: boolean } | null>(null);

/** The player. */
export const frame = signal(0);
export const playing = signal(false);
export const following = signal(false);
export const view = signal<View>({ zoom: 1, x: 0, y: 0 });
export const showMotion = signal(false);

/** The objects and the tools that mark them. */
export const objects = signal<ObjectInfo[]>([]);
export const selected = signal(1);
export const tool = signal<Tool>("box");
export const brushSize = signal(24);
export const opacity = signal(0.5);
export const edits = signal<ReadonlyMap<number, FrameEdit>>(new Map());
export const canUndo = signal(false);
export const canRedo = signal(false);

/** The job whose masks are shown, its versions from the first to the newest, and what to look at. */
export const job = signal<Job | null>(null);
export const versions = signal<Job[]>([]);
export const review = signal<ReviewRange[]>([]);
export const compare = signal<Compare>("off");
export const split = signal(0.5);

/** Options of the next run. */
export const models = signal<Model[]>([]);
export const runOptions = signal({ model: "", quality: "balanced", direction: "both", soft: false });

/** Messages, dialogs, and what is being waited for. */
export const message = signal<{ text: string; kind: "info" | "error" } | null>(null);
export const dialog = signal<Dialog>(null);
export const busy = signal("");

export const frameCount = computed(() => Math.max(1, video.value?.frames ?? 1));
export const fps = computed(() => video.value?.fps || 25);
export const running = computed(() => job.value?.status === "queued" || job.value?.status === "running");
export const hasEdits = computed(() => edits.value.size > 0);
export const parentId = computed(() => job.value?.corrects ?? null);
