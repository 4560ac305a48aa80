import { describe, expect, test } from "vitest";
import { nameOf } from "../src/state/key_names";
import { columnOf, columnSources, frameAt, framesOf, lowestScores, runsOf } from "../src/timeline/layout";
import { tickFrames } from "../src/timeline/draw";
import { linesOf } from "../src/masks/lines";
import type { Job } from "../src/api/types";
import { durationText, notesOf, sizeText, timeText } from "../src/panels/text";

describe("columns of the timeline", () => {
  test.each([[90, 1000], [10_000, 1400], [7, 7]])("cover %i frames once, in order", (frames, columns) => {
    const seen = new Set<number>();
    for (let column = 0; column < columns; column += 1) {
      const [first, last] = framesOf(column, frames, columns);
      for (let frame = first; frame < last; frame += 1) seen.add(frame);
    }
    expect(seen.size).toBe(frames);
    for (let frame = 0; frame < frames; frame += 1) expect(frameAt(columnOf(frame, frames, columns) + 0.999, frames, columns)).toBeGreaterThanOrEqual(frame);
  });

  test("show the lowest score, and none where no mask has come", () => {
    const scores = new Float32Array(100).fill(0.9).fill(-1, 50);
    scores[13] = 0.2;
    const lowest = lowestScores(scores, 100, 10);
    expect(lowest[1]).toBeCloseTo(0.2);
    expect(lowest[0]).toBeCloseTo(0.9);
    expect(lowest[5]).toBe(-1);
  });

  test("show what a person gave before anything else", () => {
    const sources = new Uint8Array(100).fill(2).fill(255, 60);
    sources[13] = 4;
    sources[14] = 1;
    sources[24] = 1;
    expect([...columnSources(sources, 100, 10)]).toEqual([2, 4, 1, 2, 2, 2, 255, 255, 255, 255]);
  });

  test("join to runs", () => {
    expect(runsOf([1, 1, 2, 2, 2, 1])).toEqual([[0, 2, 1], [2, 5, 2], [5, 6, 1]]);
    expect(runsOf([])).toEqual([]);
  });

  test("have ticks at round numbers", () => {
    expect(tickFrames(90, 1000)).toBe(10);
    expect(tickFrames(10_000, 1400)).toBe(500);
  });
});

test("lines are split wherever the pieces of the stream end", async () => {
  const bytes = new TextEncoder().encode('{"a":"ü"}\n{"b":2}\n{"cut');
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const lines: string[] = [];
  for await (const some of linesOf(stream)) lines.push(...some);
  expect(lines).toEqual(['{"a":"ü"}', '{"b":2}']);
});

test("numbers read as people say them", () => {
  expect([sizeText(900), sizeText(8.4e6), sizeText(3.2e9)]).toEqual(["1 kB", "8.4 MB", "3.2 GB"]);
  expect([durationText(8.2), durationText(200), durationText(7500)]).toEqual(["8 s", "3 min 20 s", "2 h 5 min"]);
  expect(timeText(75.5)).toBe("1:15.50");
});

test("notes on uploads and on the run are shown once", () => {
  const job = { notes: ["the mask is a JPEG"], report: { notes: ["the mask is a JPEG", "the sound has gaps"] } };
  expect(notesOf(job as unknown as Job)).toEqual(["the mask is a JPEG", "the sound has gaps"]);
  expect(notesOf({ ...job, report: null } as unknown as Job)).toEqual(["the mask is a JPEG"]);
});

test("keys have the names of the table of shortcuts", () => {
  const press = { ctrlKey: false, metaKey: false, shiftKey: false };
  expect(nameOf({ ...press, key: "B" })).toBe("b");
  expect(nameOf({ ...press, key: "z", metaKey: true, shiftKey: true })).toBe("ctrl+shift+z");
});
