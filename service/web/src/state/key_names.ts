/** Return the name of a key press as the table of shortcuts has it; the Mac's command key counts as Ctrl. */
export function nameOf(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "shiftKey">): string {
  const control = event.ctrlKey || event.metaKey ? "ctrl+" : "";
  return `${control}${event.shiftKey ? "shift+" : ""}${event.key.toLowerCase()}`;
}
