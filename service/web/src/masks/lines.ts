/** Splits a stream of NDJSON into its lines. */

/** Yield the complete lines of each piece that arrives; a last line that was cut off is left out. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string[]> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    const lines = (rest + decoder.decode(piece.value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    const full = lines.filter((line) => line.trim());
    if (full.length) yield full;
  }
}
