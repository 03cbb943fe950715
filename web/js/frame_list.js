// Frame numbers as the widgets hold them: "12, 40-55". The same rules as personatalk_core/rendering/frame_list.py.

/** Text to a sorted list of numbers, each once; what cannot be read is left out. */
export function parseFrames(text) {
  const frames = new Set();
  for (const piece of String(text ?? "").replace(/\s*-\s*/g, "-").split(/[,\s]+/)) {
    const match = /^(\d{1,7})(?:-(\d{1,7}))?$/.exec(piece);
    if (!match) continue;
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    for (let frame = first; frame <= last && frame < first + 100000; frame++) frames.add(frame);
  }
  return [...frames].sort((a, b) => a - b);
}

/** The inverse, with runs as ranges. */
export function formatFrames(frames) {
  const runs = [];
  for (const frame of [...new Set(frames)].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run && run[1] === frame - 1) run[1] = frame;
    else runs.push([frame, frame]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}
