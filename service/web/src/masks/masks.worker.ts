/** Reads mask streams, keeps their lines, and decodes the masks that the page shows, off the page's own thread. */

import type { FrameLine } from "../api/types";
import { linesOf } from "./lines";
import { SOURCES, type FromWorker, type Summary, type ToWorker } from "./protocol";
import { fillRle } from "./rle";

interface Track {
  lines: Map<number, FrameLine>;
  next: number;
  reading: AbortController | null;
}

const tracks = new Map<string, Track>();
const post = (message: FromWorker, transfer: Transferable[] = []): void =>
  (self as unknown as Worker).postMessage(message, transfer);

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "follow") void follow(data.track, data.url, data.headers);
  else if (data.kind === "forget") forget(data.track);
  else decode(data.request, data.track, data.frame);
};

/** Read the stream from the first frame that is missing; a track that is being read is left alone. */
async function follow(name: string, url: string, headers: Record<string, string>): Promise<void> {
  const track = tracks.get(name) ?? { lines: new Map(), next: 0, reading: null };
  tracks.set(name, track);
  if (track.reading) return;
  const reading = new AbortController();
  track.reading = reading;
  let failure: number | null = null;
  try {
    const answer = await fetch(`${url}?from=${track.next}`, { headers, signal: reading.signal });
    if (!answer.ok || !answer.body) failure = answer.status;
    else for await (const lines of linesOf(answer.body)) post({ kind: "lines", track: name, summary: add(track, lines) });
  } catch {
    failure = 0;
  }
  if (track.reading !== reading) return;
  track.reading = null;
  post({ kind: "end", track: name, next: track.next, failure });
}

function add(track: Track, lines: string[]): Summary {
  const summary: Summary = { frames: [], sources: [], scores: [] };
  for (const text of lines) {
    const line = JSON.parse(text) as FrameLine;
    track.lines.set(line.index, line);
    track.next = line.index + 1;
    summary.frames.push(line.index);
    summary.sources.push(Math.max(0, SOURCES.indexOf(line.source)));
    summary.scores.push(line.objects.map((object) => [object.id, object.score]));
  }
  return summary;
}

function forget(name: string): void {
  const track = tracks.get(name);
  tracks.delete(name);
  const reading = track?.reading;
  if (track) track.reading = null;
  reading?.abort();
}

function decode(request: number, name: string, frame: number): void {
  const line = tracks.get(name)?.lines.get(frame);
  const size = line?.objects[0]?.rle.size;
  if (!line || !size) {
    post({ kind: "decoded", request, map: line ? new Uint8Array(0) : null });
    return;
  }
  const map = new Uint8Array(size[0] * size[1]);
  for (const object of line.objects) fillRle(map, object.rle, object.id);
  post({ kind: "decoded", request, map }, [map.buffer]);
}
