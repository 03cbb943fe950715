// Before and after in one picture with a movable line. The dubbed video leads and has the sound; the source follows it.
import { sourceTime } from "./source_time.js";
import { dropPreview, fileUrl, make, viewOf } from "./view_widget.js";
import { word } from "./words.js";

const MAX_DRIFT = 0.08; // seconds the two may be apart before the source jumps to its place

export function addDubPlayer(node, output) {
  const shown = output.personatalk_dub[0];
  const { before, after } = shown;
  if (!after) return;
  dropPreview(node);
  const element = viewOf(node, "dub", 300);
  const video = (file, muted) => make("video", { src: fileUrl(file), muted, loop: true, playsInline: true, preload: "auto" });
  const dubbed = video(after, false);
  const source = before ? video(before, true) : null;
  const stage = make("div", { className: "stage" }, dubbed);
  const play = make("button", { type: "button", textContent: "▶", title: word("play"), ariaLabel: word("play") });
  const time = make("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, ariaLabel: word("time") });
  const controls = make("div", { className: "row" }, play, time);
  element.append(stage, controls);

  if (source) {
    const line = make("div", { className: "line" });
    const wipe = make("input", { type: "range", min: 0, max: 100, step: 1, value: 50, ariaLabel: word("wipe"), title: word("wipe") });
    const tags = [make("span", { className: "tag", textContent: word("before") }), make("span", { className: "tag", textContent: word("after") })];
    tags[0].style.left = tags[1].style.right = "6px";
    stage.append(source, line, ...tags);
    element.append(make("div", { className: "row" }, wipe));
    const split = () => {
      source.style.clipPath = `inset(0 ${100 - wipe.value}% 0 0)`;
      line.style.left = `calc(${wipe.value}% - 1px)`;
    };
    const move = (event) => {
      const box = stage.getBoundingClientRect();
      wipe.value = Math.max(0, Math.min(100, (100 * (event.clientX - box.left)) / box.width));
      split();
    };
    wipe.addEventListener("input", split);
    stage.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      stage.setPointerCapture(event.pointerId);
      move(event);
      stage.onpointermove = move;
    });
    stage.addEventListener("pointerup", () => (stage.onpointermove = null));
    stage.addEventListener("pointercancel", () => (stage.onpointermove = null));
    split();
  }

  const follow = () => {
    if (dubbed.duration) time.value = dubbed.currentTime / dubbed.duration;
    if (!source?.duration) return;
    const wanted = sourceTime(dubbed.currentTime, shown, source.duration, dubbed.duration);
    const runsForward = wanted >= follow.last;
    follow.last = wanted;
    if (dubbed.paused || !runsForward || Math.abs(source.currentTime - wanted) > MAX_DRIFT) source.currentTime = wanted;
    if (dubbed.paused || !runsForward) source.pause();
    else source.play().catch(() => {});
  };
  follow.last = 0;
  let waiting = 0;
  const step = () => {
    follow();
    waiting = dubbed.paused ? 0 : requestAnimationFrame(step);
  };
  const label = () => {
    play.textContent = dubbed.paused ? "▶" : "❚❚";
    play.title = play.ariaLabel = word(dubbed.paused ? "play" : "pause");
    cancelAnimationFrame(waiting);
    step();
  };
  dubbed.addEventListener("play", label);
  dubbed.addEventListener("pause", label);
  dubbed.addEventListener("seeked", follow);
  play.addEventListener("click", () => (dubbed.paused ? dubbed.play() : dubbed.pause()));
  time.addEventListener("input", () => {
    if (dubbed.duration) dubbed.currentTime = time.value * dubbed.duration;
  });
  element.addEventListener("personatalk-removed", () => {
    cancelAnimationFrame(waiting);
    dubbed.pause();
    source?.pause();
  }, { once: true });
}
