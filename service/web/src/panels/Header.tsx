/** The bar at the top: what is open, and what concerns the whole page. */

import { useKey, apiKey } from "../api/client";
import { closeVideo, mayLeave } from "../state/opening";
import { nextTheme, theme, useTheme } from "../state/theme";
import * as state from "../state/state";
import { IconButton } from "./icons";

export function Header() {
  const open = state.origin.value !== null || state.upload.value !== null;
  return (
    <header class="header">
      <a class="brand" href="#" aria-label="keymask, start page" onClick={leave}>
        <img src={new URL("static/icon.svg", document.baseURI).href} alt="" width="24" height="24" />
        <span>keymask</span>
      </a>
      {open && <span class="clip-name" title={state.clipName.value}>{state.clipName.value}</span>}
      <span class="grow" />
      {open && (
        <button type="button" class="quiet" onClick={leave}>
          Open another
        </button>
      )}
      <button type="button" class="quiet" onClick={() => (state.dialog.value = "jobs")}>
        Jobs
      </button>
      {apiKey.value && (
        <button type="button" class="quiet" onClick={() => useKey("")}>
          Log out
        </button>
      )}
      <IconButton icon="theme" label={`Colours: ${theme.value}`} onClick={() => useTheme(nextTheme[theme.value])} />
      <IconButton icon="help" label="Keyboard shortcuts" keys="?" onClick={() => (state.dialog.value = "help")} />
    </header>
  );
}

function leave(event: MouseEvent): void {
  event.preventDefault();
  if (mayLeave()) void closeVideo();
}
