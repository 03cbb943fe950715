"""The page of the viewing test; TITLE and DATA are filled in by ``user_study``. Plain HTML and script,
nothing from outside."""

from __future__ import annotations

PAGE = """<!doctype html> <meta charset="utf-8"><meta name="viewport"
content="width=device-width"><title>TITLE</title> <style> body{font:16px
system-ui,sans-serif;max-width:1000px;margin:1.5em auto;padding:0 1em;color:#222}
.videos{display:flex;gap:1em;flex-wrap:wrap}.videos figure{margin:0;flex:1 1
280px;max-width:480px}video{width:100%;background:#000} fieldset{border:1px solid #ccc;margin:.8em
0}label{margin-right:1.2em;white-space:nowrap} button{font:inherit;padding:.5em 1.2em}
progress{width:100%}.hidden{display:none} </style> <h1>TITLE</h1> <section id="start"> <p>You will see short
videos. Please use headphones, watch each to the end with sound, and judge only what you see and hear. Your
answers stay on this computer until you send the file that is saved at the end.</p> <p><label>Your name or any
code: <input id="rater" maxlength="40"></label> <button id="begin">Begin</button></p> </section> <section
id="trial" class="hidden"> <progress id="progress"></progress> <div class="videos" id="videos"></div> <form
id="answers"></form> <p><button id="next">Next</button> <span id="hint" class="hidden">Please answer every
question and play every video first.</span></p> </section> <section id="end" class="hidden"><p>Thank you. Save
the answers and send the file to whoever asked you.</p> <p><button id="save">Save
answers</button></p></section> <script id="data" type="application/json">DATA</script> <script> "use strict";
const study = JSON.parse(document.getElementById("data").textContent); const byId = (id) =>
document.getElementById(id); const rows = [["rater", "trial", "question", "item_a", "item_b", "answer",
"seconds"]]; let order = [], at = 0, sides = [], begun = 0, played = new Set();

function random(n) {  // uniform integer below n
  const box = new Uint32Array(1), limit = Math.floor(4294967296 / n) * n;
  do { crypto.getRandomValues(box); } while (box[0] >= limit);
  return box[0] % n;
}
function shuffle(list) {
  for (let i = list.length - 1; i > 0; i--) { const j = random(i + 1); [list[i], list[j]] = [list[j],
  list[i]]; }
  return list;
}
function video(item, caption, needed) {
  const [figure, player, text] = ["figure", "video", "figcaption"].map((name) =>
  document.createElement(name));
  player.src = study.media[item]; player.controls = true; player.loop = false; player.playsInline = true;
  if (needed) player.addEventListener("ended", () => played.add(item));
  text.textContent = caption; figure.append(player, text);
  return figure;
}
function show() {
  const trial = study.trials[order[at]];
  sides = shuffle([...trial.items]); played = new Set(); begun = Date.now();
  byId("progress").max = order.length; byId("progress").value = at;
  const names = study.kind === "ab" ? ["A", "B"] : [""];
  byId("videos").replaceChildren(...sides.map((item, k) => video(item, names[k], true)));
  if (trial.reference) byId("videos").append(video(trial.reference, "the person in the original video (other
  words)", false));
  const sides_or_same = [["A", "A"], ["B", "B"], ["same", "no difference"]];
  const choices = study.kind === "ab" ? sides_or_same : [1, 2, 3, 4, 5].map((n) => [String(n), String(n)]);
  byId("answers").replaceChildren(...Object.entries(study.questions).map(([name, question]) => {
    const field = document.createElement("fieldset"), legend = document.createElement("legend");
    legend.textContent = question; field.append(legend);
    for (const [value, text] of choices) {
      const label = document.createElement("label"), radio = document.createElement("input");
      radio.type = "radio"; radio.name = name; radio.value = value; label.append(radio, " " + text);
    field.append(label);
    }
    return field;
  }));
  byId("hint").classList.add("hidden");
}
function next() {
  const given = new FormData(byId("answers")), names = Object.keys(study.questions);
  if (names.some((name) => !given.get(name)) || sides.some((item) => !played.has(item))) {
    byId("hint").classList.remove("hidden");
    return;
  }
  const seconds = ((Date.now() - begun) / 1000).toFixed(1);
  const rater = byId("rater").value.trim(), trial = String(order[at]);
  for (const name of names) rows.push([rater, trial, name, sides[0], sides[1] || "", given.get(name),
  seconds]);
  at += 1;
  if (at < order.length) show();
  else { byId("trial").classList.add("hidden"); byId("end").classList.remove("hidden"); }
}
function save() {
  const cell = (text) => '"' + text.replaceAll('"', '""') + '"';
  const blob = new Blob([rows.map((row) => row.map(cell).join(",")).join("\\r\\n") + "\\r\\n"], {type:
  "text/csv"});
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "answers_" + byId("rater").value.trim().replace(/[^A-Za-z0-9_-]+/g, "_") + ".csv";
  link.click();
}
byId("begin").addEventListener("click", () => {
  if (!byId("rater").value.trim()) { byId("rater").focus(); return; }
  order = shuffle(study.trials.map((_, k) => k));
  byId("start").classList.add("hidden"); byId("trial").classList.remove("hidden"); show();
});
byId("next").addEventListener("click", (event) => { event.preventDefault(); next(); });
byId("save").addEventListener("click", save);
</script>
"""
