/** Requests to the service. The key of the caller is sent where one was given; errors are RFC 9457 problems. */

import { signal } from "@preact/signals";

const KEY_ITEM = "keymask.key";

/** The caller's API key, kept until the tab is closed. */
export const apiKey = signal(sessionStorage.getItem(KEY_ITEM) ?? "");

/** Whether the service refused a request for want of a valid key. */
export const keyRefused = signal(false);

/** An error that the service explained, or a connection that was lost (`status` 0). */
export class ServiceError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    detail: string,
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }
}

/** Keep a key for all requests from now on. */
export function useKey(key: string): void {
  sessionStorage.setItem(KEY_ITEM, key);
  apiKey.value = key;
  keyRefused.value = false;
}

/** Return the address of a resource; the page may be served below the prefix of a proxy. */
export function address(path: string): string {
  return new URL(path, document.baseURI.split("#")[0]).href;
}

export function authorization(): Record<string, string> {
  return apiKey.value ? { Authorization: `Bearer ${apiKey.value}` } : {};
}

/** Send a request and return the answer. Raises ServiceError unless the status is 2xx. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(address(path), { ...init, headers: { ...authorization(), ...init.headers } });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ServiceError(0, "offline", "The service cannot be reached.");
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

export async function requestJson<T>(path: string, init: RequestInit = {}): Promise<T> {
  return (await request(path, init)).json() as Promise<T>;
}

async function problemOf(answer: Response): Promise<ServiceError> {
  if (answer.status === 401) keyRefused.value = true;
  const wait = Number(answer.headers.get("Retry-After")) || null;
  try {
    const problem = (await answer.json()) as { type?: string; title?: string; detail?: string };
    const kind = (problem.type ?? "").replace("/problems/", "");
    return new ServiceError(answer.status, kind, problem.detail ?? problem.title ?? answer.statusText, wait);
  } catch {
    return new ServiceError(answer.status, "", `The service answered ${answer.status} ${answer.statusText}`, wait);
  }
}
