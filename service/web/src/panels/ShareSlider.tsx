/** A slider for a share from 0 to 1. */

import type { Signal } from "@preact/signals";

export function ShareSlider({ label, share, step }: { label: string; share: Signal<number>; step: string }) {
  return (
    <label class="slider">
      <span>{label}</span>
      <input
        type="range"
        min="0"
        max="1"
        step={step}
        value={share.value}
        onInput={(event) => (share.value = Number(event.currentTarget.value))}
      />
    </label>
  );
}
