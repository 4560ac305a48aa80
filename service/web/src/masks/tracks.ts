/** The tracks of the jobs that the page shows, and the worker that reads and decodes their masks. */

import { signal } from "@preact/signals";
import { address, authorization } from "../api/client";
import type { FromWorker, ToWorker } from "./protocol";
import { Track } from "./track";

/** Grows whenever masks arrive: what is drawn from tracks depends on it. */
export const revision = signal(0);

const tracks = new Map<string, Track>();
const waiting = new Map<number, (map: Uint8Array | null) => void>();
const ends = new Map<string, (failure: number | null) => void>();
let requests = 0;
let worker: Worker | null = null;

function send(message: ToWorker): void {
  if (!worker) {
    worker = new Worker(new URL("./masks.worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => receive(data);
  }
  worker.postMessage(message);
}

function receive(message: FromWorker): void {
  if (message.kind === "decoded") {
    waiting.get(message.request)?.(message.map);
    waiting.delete(message.request);
  } else if (message.kind === "lines") {
    trackOf(message.track).add(message.summary);
    revision.value += 1;
  } else {
    ends.get(message.track)?.(message.failure);
    ends.delete(message.track);
  }
}

/** Return the track of a job; it is empty until its stream was read. */
export function trackOf(job: string): Track {
  let track = tracks.get(job);
  if (!track) tracks.set(job, (track = new Track()));
  return track;
}

/** Read the masks of a job while they are computed; resolves when the stream ends, with the status of a refusal. */
export function followMasks(job: string): Promise<number | null> {
  return new Promise((resolve) => {
    ends.set(job, resolve);
    send({ kind: "follow", track: job, url: address(`v1/jobs/${job}/masks`), headers: authorization() });
  });
}

/** Return the index map of one frame, empty where it has no object; null if it has not been computed. */
export function decodeMask(job: string, frame: number): Promise<Uint8Array | null> {
  if (!trackOf(job).has(frame)) return Promise.resolve(null);
  requests += 1;
  const request = requests;
  return new Promise((resolve) => {
    waiting.set(request, resolve);
    send({ kind: "decode", request, track: job, frame });
  });
}

/** Drop the masks of all jobs but these. */
export function keepTracks(jobs: readonly string[]): void {
  for (const job of [...tracks.keys()].filter((id) => !jobs.includes(id))) {
    tracks.delete(job);
    send({ kind: "forget", track: job });
  }
}
