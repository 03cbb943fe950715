// Which moment of the source a moment of the dubbed video shows.

/** The source's time for a time of the dubbed video. shown.length: how the node filled a longer or shorter sound, or
 *  shown.times and shown.source_times: start of each frame and of the source frame it shows. before, after: durations. */
export function sourceTime(time, shown, before, after) {
  const { length, times } = shown;
  if (!(before > 0)) return 0;
  if (times?.length) {
    const next = times.findIndex((start) => start > time);
    return shown.source_times[next < 0 ? times.length - 1 : Math.max(0, next - 1)];
  }
  if (length === "loop") return time % before;
  if (length === "remap") return after > 0 ? (time * before) / after : 0;
  if (length === "bounce") {
    const place = time % (2 * before);
    return place < before ? place : 2 * before - place;
  }
  return Math.min(time, before);
}
