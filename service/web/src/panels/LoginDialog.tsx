/** Asks for the API key, where the service requires one. */

import { useState } from "preact/hooks";
import { apiKey, useKey } from "../api/client";
import { loadModels, openAddress } from "../state/opening";
import * as state from "../state/state";

export function LoginDialog() {
  const [refused] = useState(apiKey.value !== "");
  const [key, setKey] = useState("");
  return (
    <form
      class="login"
      onSubmit={(event) => {
        event.preventDefault();
        useKey(key.trim());
        state.dialog.value = null;
        void loadModels();
        void openAddress();
      }}
    >
      <p>{refused ? "The service does not accept this key." : "This service needs an API key."} It is kept until you close this tab.</p>
      <label>
        <span>API key</span>
        <input type="password" autocomplete="off" required value={key} onInput={(event) => setKey(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary">
        Log in
      </button>
    </form>
  );
}
