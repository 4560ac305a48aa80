/** The strip below the video: where each mask comes from, how sure it is, and what to look at. */

import { useEffect, useRef } from "preact/hooks";
import { effect } from "@preact/signals";
import { revision, trackOf } from "../masks/tracks";
import { goTo, step } from "../state/player";
import * as state from "../state/state";
import { drawTimeline, heightFor, type Picture } from "./draw";
import { frameAt } from "./layout";

const COLOR_NAMES = [
  "empty", "line", "muted", "review", "edit", "playhead", "prompt", "key", "propagated", "fallback", "corrected",
] as const;

/** Return the colours of the timeline, which the style sheet sets for light and dark. */
function colorsOf(element: Element): Record<string, string> {
  const style = getComputedStyle(element);
  return Object.fromEntries(COLOR_NAMES.map((name) => [name, style.getPropertyValue(`--timeline-${name}`).trim()]));
}

function currentPicture(colors: Record<string, string>): Picture {
  void revision.value;
  const job = state.job.value;
  return {
    frames: state.frameCount.value,
    frame: state.frame.value,
    fps: state.fps.value,
    objects: state.objects.value,
    track: job ? trackOf(job.id) : null,
    review: state.review.value,
    edited: [...state.edits.value.keys()],
    colors,
  };
}

export function Timeline() {
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context) return;
    let planned = 0;
    let colors = colorsOf(element);
    const draw = (): void => {
      planned = 0;
      const picture = currentPicture(colors);
      const [width, height] = [element.clientWidth, heightFor(picture.objects.length)];
      element.style.height = `${height}px`;
      element.width = Math.round(width * devicePixelRatio);
      element.height = Math.round(height * devicePixelRatio);
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      drawTimeline(context, width, height, picture);
    };
    const plan = (): void => {
      planned ||= requestAnimationFrame(draw);
    };
    // Reading the signals here is what draws again; several changes within one frame are drawn once.
    const stop = effect(() => {
      currentPicture(colors);
      plan();
    });
    const recolor = (): void => {
      colors = colorsOf(element);
      plan();
    };
    const observer = new ResizeObserver(plan);
    observer.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", recolor);
    addEventListener("keymask-theme", recolor);
    return () => {
      stop();
      observer.disconnect();
      scheme.removeEventListener("change", recolor);
      removeEventListener("keymask-theme", recolor);
      cancelAnimationFrame(planned);
    };
  }, []);

  const seek = (event: PointerEvent): void => {
    const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
    goTo(frameAt(event.clientX - bounds.left, state.frameCount.value, bounds.width));
  };
  const job = state.job.value;
  void revision.value;
  const source = job ? trackOf(job.id).sourceOf(state.frame.value) : null;
  return (
    <canvas
      ref={canvas}
      class="timeline"
      role="slider"
      tabIndex={0}
      aria-label="Timeline"
      aria-valuemin={0}
      aria-valuemax={state.frameCount.value - 1}
      aria-valuenow={state.frame.value}
      aria-valuetext={`Frame ${state.frame.value} of ${state.frameCount.value}${source ? `, mask: ${source}` : ""}`}
      onPointerDown={(event) => {
        state.playing.value = false;
        event.currentTarget.setPointerCapture(event.pointerId);
        seek(event);
      }}
      onPointerMove={(event) => event.buttons && seek(event)}
      onKeyDown={(event) => {
        const by: Record<string, number> = { PageDown: 25, PageUp: -25, Home: -Infinity, End: Infinity };
        const jump = by[event.key];
        if (jump === undefined) return;
        event.preventDefault();
        step(jump);
      }}
    />
  );
}
