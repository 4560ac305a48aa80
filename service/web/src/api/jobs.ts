/** Calls about jobs, prompts and results. */

import { request, requestJson } from "./client";
import type { Analysis, Job, MadeMask, Model, Probe, PromptEntry, ReviewRange, Video } from "./types";

/** A video on the service: an upload before it is a job, or the video of a job. */
export interface Origin {
  kind: "upload" | "job";
  id: string;
}

export const pathOf = (origin: Origin): string => `v1/${origin.kind}s/${origin.id}`;

export const readJob = (id: string): Promise<Job> => requestJson(`v1/jobs/${id}`);
export const readVersions = async (id: string): Promise<Job[]> =>
  (await requestJson<{ versions: Job[] }>(`v1/jobs/${id}/versions`)).versions;
export const readReview = (id: string): Promise<ReviewRange[]> => requestJson(`v1/jobs/${id}/review`);
/** Return what a result has lost against the video, in plain words; the result is made if it does not exist yet. */
export const readResultNotes = async (id: string, format: string): Promise<string[]> =>
  (await requestJson<{ notes: string[] }>(`v1/jobs/${id}/result/notes?format=${format}`)).notes;
export const readModels = async (): Promise<Model[]> =>
  (await requestJson<{ models: Model[] }>("v1/models")).models;
export const readVideo = (upload: string): Promise<Video> => requestJson(`v1/uploads/${upload}/video`);
export const readProbe = (upload: string, signal: AbortSignal): Promise<Probe> =>
  requestJson(`v1/uploads/${upload}/probe`, { signal });
export const readAnalysis = (origin: Origin, frame: number, signal: AbortSignal): Promise<Analysis> =>
  requestJson(`${pathOf(origin)}/frames/${frame}/analysis`, { signal });

export function listJobs(cursor: string | null): Promise<{ jobs: Job[]; cursor: string | null }> {
  return requestJson(`v1/jobs?limit=20${cursor ? `&cursor=${cursor}` : ""}`);
}

export const cancelJob = (id: string): Promise<Job> => requestJson(`v1/jobs/${id}/cancel`, { method: "POST" });
export const undoJob = (id: string): Promise<Job> => requestJson(`v1/jobs/${id}/undo`, { method: "POST" });

export async function deleteJob(id: string): Promise<void> {
  await request(`v1/jobs/${id}`, { method: "DELETE" });
}

/** Create a job. The same `attempt` never creates a second one. */
export function createJob(
  upload: string,
  prompt: PromptEntry[],
  options: Record<string, unknown>,
  attempt: string,
): Promise<Job> {
  const form = new FormData();
  form.append("upload", upload);
  form.append("prompt", JSON.stringify(prompt));
  form.append("options", JSON.stringify(options));
  return requestJson("v1/jobs", { method: "POST", body: form, headers: { "Idempotency-Key": attempt } });
}

export function correctJob(id: string, prompt: PromptEntry[]): Promise<Job> {
  return requestJson(`v1/jobs/${id}/corrections`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt }),
  });
}

/** Make masks from boxes and points; nothing is stored. */
export function makeMasks(origin: Origin, prompt: PromptEntry[], signal: AbortSignal): Promise<MadeMask> {
  const form = new FormData();
  form.append(origin.kind, origin.id);
  form.append("prompt", JSON.stringify(prompt));
  return requestJson("v1/prompts?format=rle", { method: "POST", body: form, signal });
}
