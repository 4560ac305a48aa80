/** The first frame of a file that is still being uploaded, where the browser can decode it. */

import { useEffect, useState } from "preact/hooks";
import * as state from "../state/state";

export function LocalPreview() {
  const file = state.localFile.value;
  const [url, setUrl] = useState("");
  useEffect(() => {
    if (!file) return setUrl("");
    const made = URL.createObjectURL(file);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [file]);
  if (!file || !url || state.origin.value) return null;
  return <video class="preview" src={url} muted playsInline preload="auto" aria-label="First frame of the file" />;
}
