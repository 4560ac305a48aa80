/** What the page tells the person: one line that goes away, and errors that stay until the next action. */

import { ServiceError } from "../api/client";
import * as state from "./state";

const INFO_MILLISECONDS = 6000;

export function say(text: string): void {
  const shown = { text, kind: "info" as const };
  state.message.value = shown;
  setTimeout(() => {
    if (state.message.value === shown) state.message.value = null;
  }, INFO_MILLISECONDS);
}

export function reportError(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  if (error instanceof ServiceError && error.status === 401) {
    state.dialog.value = "login"; // the dialog says what is missing
    return;
  }
  const text = error instanceof Error ? error.message : String(error);
  state.message.value = { text: text.charAt(0).toUpperCase() + text.slice(1), kind: "error" };
}

let latest = 0;

/** Run an action; show what it waits for, and its error. Returns whether it worked. */
export async function attempt(waitingFor: string, action: () => Promise<void>): Promise<boolean> {
  state.message.value = null;
  state.busy.value = waitingFor;
  const mine = (latest += 1);
  try {
    await action();
    return true;
  } catch (error) {
    reportError(error);
    return false;
  } finally {
    if (mine === latest) state.busy.value = "";
  }
}
