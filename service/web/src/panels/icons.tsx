/** Icons, drawn on a grid of 20 units with lines of 1.6. */

const PATHS = {
  pan: "M7 10V5a1.3 1.3 0 0 1 2.6 0v4V3.8a1.3 1.3 0 0 1 2.6 0V9 5a1.3 1.3 0 0 1 2.6 0v7c0 3-2 5-4.6 5-2 0-3.400-.8-4.500-2.500L3.500 11c-.7-1.200.9-2.400 1.900-1.400L7 11",
  box: "M4 7V4h3M13 4h3v3M16 13v3h-3M7 16H4v-3M8 10h4M10 8v4",
  points: "M10 3v3M10 14v3M3 10h3M14 10h3M10 7.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5",
  brush: "M16.500 3.500 9 11M9 11c-2-.5-4 .6-4 3 0 1.200-.8 2-2 2.300C6 17.700 10.500 17 11 13z",
  eraser: "M8 16.500h9M4 11.500l7-7 5.500 5.500-6.500 6.500H7.500zM7.500 8l5.500 5.500",
  polygon: "M10 3l7 5-2.500 8.500h-9L3 8z",
  load: "M10 13V4M6.500 7 10 3.500 13.500 7M3.500 12v4h13v-4",
  undo: "M7 4 3.500 7.500 7 11M3.500 7.500H12a4.500 4.500 0 0 1 0 9H7",
  redo: "M13 4l3.500 3.500L13 11M16.500 7.500H8a4.500 4.500 0 0 0 0 9h5",
  play: "M6 4l10 6-10 6z",
  pause: "M6.500 4v12M13.500 4v12",
  previous: "M13 5l-5 5 5 5M5.500 5v10",
  next: "M7 5l5 5-5 5M14.500 5v10",
  fit: "M4 8V4h4M12 4h4v4M16 12v4h-4M8 16H4v-4",
  plus: "M10 4v12M4 10h12",
  close: "M5 5l10 10M15 5 5 15",
  eye: "M2.500 10S5 5 10 5s7.500 5 7.500 5-2.500 5-7.500 5-7.500-5-7.500-5M10 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4",
  hidden: "M3 3l14 14M6 6.300C3.700 7.800 2.500 10 2.500 10s2.500 5 7.500 5c1.400 0 2.600-.4 3.600-1M9 5.100c.3 0 .7-.1 1-.1 5 0 7.500 5 7.500 5s-.6 1.200-1.800 2.500",
  absent: "M4.500 6h11M8 6V4h4v2M6 6l.7 10h6.600L14 6",
  motion: "M3 14l5-5M8 9H5M8 9v3M9 16l7-7M16 9h-3.500M16 9v3.500M4 6h4M11 4h5",
  theme: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  jobs: "M4 5h12M4 10h12M4 15h12",
  help: "M7.500 7.500a2.500 2.500 0 1 1 3.500 2.300c-.7.300-1 .8-1 1.700M10 14.500v.5",
  link: "M8.500 11.500a3 3 0 0 0 4.200 0l2.600-2.600a3 3 0 0 0-4.200-4.200L10 5.800M11.500 8.500a3 3 0 0 0-4.200 0l-2.600 2.600a3 3 0 0 0 4.200 4.200L10 14.200",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A button with an icon only; its label is read out and shown as a tooltip. */
export function IconButton(props: {
  icon: IconName;
  label: string;
  keys?: string;
  pressed?: boolean;
  disabled?: boolean;
  onClick: () => void;
}) {
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={props.label}
      title={props.keys ? `${props.label} (${props.keys})` : props.label}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <Icon name={props.icon} />
    </button>
  );
}
