/** Colours of objects. */

/** Okabe and Ito's colours, which colour-blind people can tell apart; the same order as the service's overlay. */
export const COLORS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2", "#9a6324"] as const;

export const colorOf = (id: number): string => COLORS[(id - 1) % COLORS.length] ?? COLORS[0];

/** Return `#rrggbb` as [red, green, blue]. */
export function rgbOf(color: string): [number, number, number] {
  const value = Number.parseInt(color.slice(1), 16) || 0;
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** Return the colour of an index in the palette of PASCAL VOC and DAVIS, as 0xrrggbb. */
export function davisColor(index: number): number {
  let [red, green, blue] = [0, 0, 0];
  for (let bit = 7, rest = index; rest; bit -= 1, rest >>= 3) {
    red |= (rest & 1) << bit;
    green |= ((rest >> 1) & 1) << bit;
    blue |= ((rest >> 2) & 1) << bit;
  }
  return (red << 16) | (green << 8) | blue;
}
