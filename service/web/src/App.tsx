/** The page: a start screen, then the video in the middle, tools left, objects and work right, the timeline below. */

import { useEffect } from "preact/hooks";
import { Dialogs } from "./panels/Dialogs";
import { Header } from "./panels/Header";
import { Message } from "./panels/Message";
import { ObjectsPanel } from "./panels/ObjectsPanel";
import { ReviewPanel } from "./panels/ReviewPanel";
import { RunPanel } from "./panels/RunPanel";
import { StartScreen } from "./panels/StartScreen";
import { Tools } from "./panels/Tools";
import { Transport } from "./panels/Transport";
import { VideoPanel } from "./panels/VideoPanel";
import { Stage } from "./stage/Stage";
import { handleKey } from "./state/shortcuts";
import * as state from "./state/state";
import { Timeline } from "./timeline/Timeline";

export function App() {
  useEffect(() => {
    const stop = new AbortController();
    addEventListener("keydown", handleKey, stop);
    addEventListener("beforeunload", (event) => state.hasEdits.value && event.preventDefault(), stop);
    return () => stop.abort();
  }, []);
  const open = state.origin.value !== null || state.upload.value !== null;
  return (
    <div class={`app ${open ? "" : "start"}`}>
      <Header />
      {open ? (
        <>
          <Tools />
          <main class="middle">
            <h1 class="unseen">{state.clipName.value}</h1>
            <Stage />
            <Transport />
            <Timeline />
          </main>
          <aside class="side" aria-label="Objects and work">
            <VideoPanel />
            <ObjectsPanel />
            <RunPanel />
            <ReviewPanel />
          </aside>
        </>
      ) : (
        <StartScreen />
      )}
      <Message />
      <Dialogs />
    </div>
  );
}
