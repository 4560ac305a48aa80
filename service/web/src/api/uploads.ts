/** Resumable uploads (tus 1.0): 8 MiB chunks, continued after a lost connection and after a reload of the page. */

import { address, authorization, keyRefused, request, ServiceError } from "./client";

const CHUNK_BYTES = 8 << 20;
const LONGEST_WAIT_SECONDS = 20;
const ITEM = "keymask.uploads";
const TUS = { "Tus-Resumable": "1.0.0" };

/** An upload that this browser began: what the file was, and where the service keeps it. */
export interface Begun {
  id: string;
  name: string;
  size: number;
}

export interface Following {
  /** Called with the number of bytes that the service has. */
  onProgress(bytes: number): void;
  /** Called when the connection is lost (true) and when it is back (false). */
  onWaiting(waiting: boolean): void;
  signal: AbortSignal;
}

/** Identifies a file as well as a browser can: reading all of it would take longer than sending it again. */
export const fingerprintOf = (file: File): string => `${file.name}|${file.size}|${file.lastModified}`;

function remembered(): Record<string, Begun> {
  try {
    return JSON.parse(localStorage.getItem(ITEM) ?? "{}") as Record<string, Begun>;
  } catch {
    return {};
  }
}

function remember(fingerprint: string, upload: Begun | null): void {
  const all = remembered();
  if (upload) all[fingerprint] = upload;
  else delete all[fingerprint];
  localStorage.setItem(ITEM, JSON.stringify(all));
}

/** Return the uploads that were begun here and not finished. */
export const begunUploads = (): Begun[] => Object.values(remembered());

/** Forget uploads, for example those that the service no longer has. */
export function forgetUpload(id: string): void {
  for (const [fingerprint, upload] of Object.entries(remembered())) {
    if (upload.id === id) remember(fingerprint, null);
  }
}

/** Return how many bytes of an upload the service has; null if it has no such upload. */
export async function offsetOf(id: string): Promise<number | null> {
  try {
    const answer = await request(`v1/uploads/${id}`, { method: "HEAD", headers: TUS });
    return Number(answer.headers.get("Upload-Offset"));
  } catch (error) {
    if (error instanceof ServiceError && (error.status === 404 || error.status === 410)) return null;
    throw error;
  }
}

/** Send a file, or the rest of it if an earlier attempt was cut off; return the id of the upload. */
export async function uploadFile(file: File, following: Following): Promise<string> {
  const fingerprint = fingerprintOf(file);
  const begun = remembered()[fingerprint];
  let offset = begun ? await patiently(following, () => offsetOf(begun.id)) : null;
  const id = begun && offset !== null ? begun.id : await patiently(following, () => create(file));
  offset ??= 0;
  remember(fingerprint, { id, name: file.name, size: file.size });
  while (offset < file.size) {
    following.onProgress(offset);
    const start: number = offset;
    const sent = await patiently(following, async () => {
      const known = start === offset ? start : await offsetOf(id);
      if (known === null) throw new ServiceError(404, "upload-not-found", "The service no longer has this upload.");
      try {
        return await send(id, file, known, following);
      } catch (error) {
        offset = -1; // the service may have a part of the chunk: ask before the next attempt
        throw error;
      }
    });
    offset = sent;
  }
  following.onProgress(file.size);
  remember(fingerprint, null);
  return id;
}

async function create(file: File): Promise<string> {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const headers = { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": `filename ${name}` };
  const answer = await request("v1/uploads", { method: "POST", headers });
  const location = answer.headers.get("Location") ?? "";
  return location.split("/").pop() ?? "";
}

/** Send one chunk; return the offset after it. `fetch` reports no progress of what it sends, so this is XMLHttpRequest. */
function send(id: string, file: File, offset: number, { onProgress, signal }: Following): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const stop = (): void => call.abort();
    call.open("PATCH", address(`v1/uploads/${id}`));
    const headers = { ...authorization(), ...TUS, "Upload-Offset": String(offset) };
    for (const [name, value] of Object.entries(headers)) call.setRequestHeader(name, value);
    call.setRequestHeader("Content-Type", "application/offset+octet-stream");
    call.upload.onprogress = (event) => onProgress(offset + event.loaded);
    call.onloadend = () => {
      signal.removeEventListener("abort", stop);
      if (signal.aborted) reject(new DOMException("The upload was stopped.", "AbortError"));
      else if (call.status >= 200 && call.status < 300) resolve(Number(call.getResponseHeader("Upload-Offset")));
      else reject(refusal(call));
    };
    signal.addEventListener("abort", stop);
    call.send(file.slice(offset, offset + CHUNK_BYTES));
  });
}

function refusal(call: XMLHttpRequest): ServiceError {
  if (call.status === 401) keyRefused.value = true;
  const wait = Number(call.getResponseHeader("Retry-After")) || null;
  try {
    const problem = JSON.parse(call.responseText) as { type: string; detail: string };
    return new ServiceError(call.status, problem.type.replace("/problems/", ""), problem.detail, wait);
  } catch {
    return new ServiceError(call.status, "", "The connection was lost.", wait);
  }
}

/** Whether the same request may succeed later: no answer, another writer, a wrong offset, a busy service. */
export function isTransient(error: unknown): boolean {
  return error instanceof ServiceError && [0, 409, 423, 429, 502, 503, 504].includes(error.status);
}

/** Try until it works or fails for good, with longer and longer waits. */
async function patiently<T>({ onWaiting, signal }: Following, attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    signal.throwIfAborted();
    try {
      const value = await attempt();
      onWaiting(false);
      return value;
    } catch (error) {
      if (!isTransient(error)) throw error;
      onWaiting(true);
      const seconds = (error as ServiceError).retryAfter ?? Math.min(2 ** tries / 2, LONGEST_WAIT_SECONDS);
      await pause(seconds * 1000, signal);
    }
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => resolve();
    setTimeout(wake, milliseconds);
    signal.addEventListener("abort", wake, { once: true });
    addEventListener("online", wake, { once: true });
  });
}
