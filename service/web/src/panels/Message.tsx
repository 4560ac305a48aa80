/** One line at the bottom: news that goes away, errors that stay until they are closed. */

import * as state from "../state/state";
import { IconButton } from "./icons";

export function Message() {
  const message = state.message.value;
  return (
    <div class="messages" role="status" aria-live="polite">
      {message && (
        <div class={`message ${message.kind}`}>
          <span>{message.text}</span>
          <IconButton icon="close" label="Close this message" onClick={() => (state.message.value = null)} />
        </div>
      )}
    </div>
  );
}
