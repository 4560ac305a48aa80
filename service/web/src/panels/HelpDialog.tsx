/** The shortcuts, from the same table that handles them. */

import { SHORTCUTS } from "../state/shortcuts";

const OTHERS: [string, string][] = [
  ["Wheel, pinch", "Zoom"],
  ["Space + drag, two fingers", "Move the picture"],
  ["Alt + click", "With points: outside the object"],
  ["Enter, double click", "Close the polygon"],
  ["Esc", "Give up a box, corners or points"],
];

export function HelpDialog() {
  const rows = [...SHORTCUTS.map(({ shown, text }) => [shown, text] as [string, string]), ...OTHERS];
  return (
    <table class="shortcuts">
      <tbody>
        {rows.map(([keys, text]) => (
          <tr key={keys}>
            <th scope="row">
              <kbd>{keys}</kbd>
            </th>
            <td>{text}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
