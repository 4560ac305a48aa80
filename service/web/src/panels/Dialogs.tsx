/** The dialogs; at most one is open. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { keyRefused } from "../api/client";
import * as state from "../state/state";
import { ExportDialog } from "./ExportDialog";
import { HelpDialog } from "./HelpDialog";
import { IconButton } from "./icons";
import { JobsDialog } from "./JobsDialog";
import { LoginDialog } from "./LoginDialog";

export function Dialogs() {
  const open = keyRefused.value ? "login" : state.dialog.value;
  if (open === "login") return <Modal title="Log in"><LoginDialog /></Modal>;
  if (open === "jobs") return <Modal title="Jobs"><JobsDialog /></Modal>;
  if (open === "export") return <Modal title="Export"><ExportDialog /></Modal>;
  if (open === "help") return <Modal title="Keyboard and mouse"><HelpDialog /></Modal>;
  return null;
}

export function closeDialog(): void {
  keyRefused.value = false;
  state.dialog.value = null;
}

function Modal({ title, children }: { title: string; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="dialog" aria-label={title} onClose={closeDialog}>
      <div class="dialog-head">
        <h2>{title}</h2>
        <IconButton icon="close" label="Close" onClick={closeDialog} />
      </div>
      {children}
    </dialog>
  );
}
