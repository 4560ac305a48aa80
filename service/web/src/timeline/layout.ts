/** What each column of the timeline shows. With 10,000 frames a column stands for several; the worst one counts. */

import { NONE } from "../masks/track";

/** Return the column of a frame. */
export function columnOf(frame: number, frames: number, columns: number): number {
  return Math.min(columns - 1, Math.floor((frame * columns) / frames));
}

/** Return the frame at a position from 0 to `columns`. */
export function frameAt(position: number, frames: number, columns: number): number {
  return Math.min(frames - 1, Math.max(0, Math.floor((position / columns) * frames)));
}

/** Return the frames from `first` to `last`, exclusive, of a column: at least one. */
export function framesOf(column: number, frames: number, columns: number): [first: number, last: number] {
  const first = Math.floor((column * frames) / columns);
  return [first, Math.max(first + 1, Math.floor(((column + 1) * frames) / columns))];
}

/** Return the lowest score of each column, -1 where no frame has one. */
export function lowestScores(scores: Float32Array, frames: number, columns: number): Float32Array {
  const lowest = new Float32Array(columns).fill(-1);
  for (let column = 0; column < columns; column += 1) {
    const [first, last] = framesOf(column, frames, columns);
    for (let frame = first; frame < last && frame < scores.length; frame += 1) {
      const score = scores[frame] ?? -1;
      const known = lowest[column] ?? -1;
      if (score >= 0 && (known < 0 || score < known)) lowest[column] = score;
    }
  }
  return lowest;
}

/** Which source a column shows if its frames have several: what a person gave first, then what the network made. */
const RANK: Readonly<Record<number, number>> = { 4: 5, 0: 4, 3: 3, 1: 2, 2: 1 };

/** Return the source of each column as an index into SOURCES, NONE where no mask has come. */
export function columnSources(sources: Uint8Array, frames: number, columns: number): Uint8Array {
  const shown = new Uint8Array(columns).fill(NONE);
  for (let column = 0; column < columns; column += 1) {
    const [first, last] = framesOf(column, frames, columns);
    let best = 0;
    for (let frame = first; frame < last && frame < sources.length; frame += 1) {
      const source = sources[frame] ?? NONE;
      const rank = RANK[source] ?? 0;
      if (rank > best) {
        best = rank;
        shown[column] = source;
      }
    }
  }
  return shown;
}

/** Split columns into runs of equal values, which are drawn as one rectangle each. */
export function runsOf(values: ArrayLike<number>): [first: number, end: number, value: number][] {
  const runs: [number, number, number][] = [];
  for (let start = 0, i = 1; i <= values.length; i += 1) {
    if (i < values.length && values[i] === values[start]) continue;
    if (values.length) runs.push([start, i, values[start] ?? 0]);
    start = i;
  }
  return runs;
}
