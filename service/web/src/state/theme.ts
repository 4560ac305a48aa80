/** Light or dark: as the system says, or as the person chose. */

import { signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";
const ITEM = "keymask.theme";

export const theme = signal<Theme>("auto");

export function storedTheme(): Theme {
  const stored = localStorage.getItem(ITEM);
  return stored === "light" || stored === "dark" ? stored : "auto";
}

export function useTheme(chosen: Theme): void {
  theme.value = chosen;
  localStorage.setItem(ITEM, chosen);
  document.documentElement.dataset.theme = chosen;
  dispatchEvent(new Event("keymask-theme")); // canvases read their colours anew
}

export const nextTheme: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
