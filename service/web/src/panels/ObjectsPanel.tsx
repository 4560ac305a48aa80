/** The objects: names, colours, which one the tools mark, and how strongly masks are drawn. */

import { revision, trackOf } from "../masks/tracks";
import { addObject, changeObject, removeObject } from "../state/editing";
import * as state from "../state/state";
import type { ObjectInfo } from "../state/state";
import { Icon, IconButton } from "./icons";
import { ShareSlider } from "./ShareSlider";

export function ObjectsPanel() {
  return (
    <section class="panel" aria-label="Objects">
      <h2>Objects</h2>
      <ul class="objects">
        {state.objects.value.map((object) => (
          <ObjectRow key={object.id} object={object} />
        ))}
      </ul>
      <button type="button" class="quiet add" onClick={addObject}>
        <Icon name="plus" /> Add an object
      </button>
      <ShareSlider label="Opacity" share={state.opacity} step="0.05" />
    </section>
  );
}

function ObjectRow({ object }: { object: ObjectInfo }) {
  const chosen = state.selected.value === object.id;
  const job = state.job.value;
  void revision.value;
  const score = job ? (trackOf(job.id).scores.get(object.id)?.[state.frame.value] ?? -1) : -1;
  const inJob = job?.prompt.some((entry) => entry.object === object.id) ?? false;
  return (
    <li class={`object ${chosen ? "chosen" : ""}`}>
      <input
        type="radio"
        name="object"
        class="pick"
        aria-label={`Mark ${object.label}`}
        checked={chosen}
        onChange={() => (state.selected.value = object.id)}
      />
      <input
        type="color"
        aria-label={`Colour of ${object.label}`}
        value={object.color}
        onInput={(event) => changeObject(object.id, { color: event.currentTarget.value })}
      />
      <input
        type="text"
        class="name"
        aria-label={`Name of object ${object.id}`}
        value={object.label}
        maxLength={60}
        disabled={inJob}
        onFocus={() => (state.selected.value = object.id)}
        onChange={(event) => changeObject(object.id, { label: event.currentTarget.value.trim() || `Object ${object.id}` })}
      />
      {score >= 0 && (
        <span class={`score ${score < 0.8 ? "low" : ""}`} title="Confidence in this frame">
          {Math.round(score * 100)}
          <span class="unseen"> percent sure</span>
        </span>
      )}
      <IconButton
        icon={object.visible ? "eye" : "hidden"}
        label={object.visible ? `Hide ${object.label}` : `Show ${object.label}`}
        onClick={() => changeObject(object.id, { visible: !object.visible })}
      />
      {!inJob && <IconButton icon="close" label={`Remove ${object.label}`} onClick={() => removeObject(object.id)} />}
    </li>
  );
}
