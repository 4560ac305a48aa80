/** Runs, follows, corrects and undoes jobs. */

import { ServiceError } from "../api/client";
import { cancelJob, correctJob, createJob, readJob, readReview, readVersions, undoJob } from "../api/jobs";
import type { Job } from "../api/types";
import { promptOf } from "../edit/edits";
import { colorOf } from "../edit/palette";
import { followMasks, keepTracks, trackOf } from "../masks/tracks";
import { reset, setAddress, showVideo } from "./clip";
import { clearEdits } from "./editing";
import { attempt, reportError, say } from "./messages";
import * as state from "./state";

const POLL_MILLISECONDS = 700;

/** Send what was drawn as the prompt of a new job, and follow it. */
export async function run(): Promise<void> {
  const origin = state.origin.value;
  const prompt = currentPrompt();
  if (!origin || origin.kind !== "upload") return;
  if (!prompt.length) return say("Mark an object first: drag a box around it, or draw with the brush.");
  const named = state.objects.value.filter((object) => prompt.some((entry) => entry.object === object.id));
  const { model, quality, direction, soft } = state.runOptions.value;
  const options = {
    ...(model ? { model } : {}),
    quality,
    direction,
    soft,
    labels: Object.fromEntries(named.map(({ id, label }) => [id, label])),
    colors: Object.fromEntries(named.map(({ id, color }) => [id, color])),
  };
  await attempt("Sending the prompt…", async () => {
    const created = await createJob(origin.id, prompt, options, crypto.randomUUID());
    clearEdits();
    startFollowing(created, true);
  });
}

function currentPrompt(): ReturnType<typeof promptOf> {
  const video = state.video.value;
  const labels = new Map(state.objects.value.map(({ id, label }) => [id, label]));
  return video ? promptOf(state.edits.value, video, labels) : [];
}

/** Send what was changed as a correction: a new job, whose masks take the place of those that are shown. */
export async function sendCorrection(): Promise<void> {
  const job = state.job.value;
  const prompt = currentPrompt();
  if (!job) return;
  if (!prompt.length) return say("Nothing has changed: edit a mask first.");
  await attempt("Sending the correction…", async () => {
    const created = await correctJob(job.id, prompt);
    clearEdits();
    startFollowing(created, false);
  });
}

/** Open a job of this service, with its video. */
export async function openJob(id: string): Promise<void> {
  reset();
  await attempt("Opening the job…", async () => {
    const job = await readJob(id);
    state.clipName.value = `Job ${id.slice(0, 8)}`;
    startFollowing(job, false);
  });
}

export async function showVersion(job: Job): Promise<void> {
  if (state.hasEdits.value) return say("Apply or discard your edits first.");
  startFollowing(await readJob(job.id), false);
}

export async function undoVersion(): Promise<void> {
  const job = state.job.value;
  if (!job) return;
  await attempt("Going back…", async () => {
    const parent = await undoJob(job.id);
    clearEdits();
    startFollowing(parent, false);
    say("Back at the version before.");
  });
}

export async function cancel(): Promise<void> {
  const job = state.job.value;
  if (job) await attempt("Stopping…", async () => void update(await cancelJob(job.id)));
}

/** Show a job: its video, its objects, its masks as they come. */
function startFollowing(job: Job, watch: boolean): void {
  state.job.value = job;
  showVideo({ kind: "job", id: job.id }, { ...job.video, frames: job.video.frames ?? state.video.value?.frames ?? null });
  state.probe.value = null;
  state.review.value = [];
  state.following.value = watch && state.running.value;
  setAddress(`job=${job.id}`);
  addObjects(job);
  keepTracks([job.id, ...(job.corrects ? [job.corrects] : [])]);
  void readMasks(job.id);
  void pollJob(job.id);
  void findVersions(job);
}

const isShown = (id: string): boolean => state.job.value?.id === id;

/** Read the masks to the end of the job, also when the connection breaks or the service restarts. */
async function readMasks(id: string): Promise<void> {
  for (let tries = 0; isShown(id); tries += 1) {
    const before = trackOf(id).count;
    const failure = await followMasks(id);
    if (failure === null && !state.running.value) return;
    if (failure !== null && failure >= 400 && failure !== 429 && failure !== 503) return;
    if (trackOf(id).count > before) tries = 0;
    await pause(Math.min(5000, 200 * 2 ** tries));
  }
}

async function pollJob(id: string): Promise<void> {
  while (isShown(id)) {
    try {
      const job = await readJob(id);
      if (!isShown(id)) return;
      update(job);
      if (!state.running.value) return await finish(job);
    } catch (error) {
      if (!(error instanceof ServiceError) || ![0, 429, 503].includes(error.status)) return reportError(error);
    }
    await pause(POLL_MILLISECONDS);
  }
}

function update(job: Job): void {
  state.job.value = job;
  if (job.video.frames) state.video.value = job.video;
}

async function finish(job: Job): Promise<void> {
  state.following.value = false;
  if (job.status === "failed") reportError(new Error(job.error?.detail ?? "The job failed."));
  if (job.status !== "succeeded") return;
  state.review.value = await readReview(job.id);
}

/** Read the chain of corrections. The masks of the version before are kept for comparing. */
async function findVersions(job: Job): Promise<void> {
  try {
    const found = await readVersions(job.id);
    if (isShown(job.id)) state.versions.value = found;
  } catch {
    if (isShown(job.id)) state.versions.value = [job];
  }
  if (job.corrects && !trackOf(job.corrects).count) await followMasks(job.corrects);
}

function addObjects(job: Job): void {
  const known = new Map(state.objects.value.map((object) => [object.id, object]));
  const ids = [...new Set(job.prompt.map((entry) => entry.object))];
  const chosen = job.options.colors ?? {};
  const objects = ids.map((id) => {
    const label = job.prompt.find((entry) => entry.object === id)?.label ?? job.options.labels?.[id];
    const color = chosen[id];
    return {
      id,
      label: label ?? known.get(id)?.label ?? `Object ${id}`,
      color: color?.startsWith("#") ? color : (known.get(id)?.color ?? colorOf(id)),
      visible: known.get(id)?.visible ?? true,
    };
  });
  if (!objects.length) return;
  state.objects.value = objects.sort((a, b) => a.id - b.id);
  if (!ids.includes(state.selected.value)) state.selected.value = objects[0]?.id ?? 1;
}

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
