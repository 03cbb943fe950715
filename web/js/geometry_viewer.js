// The moving 3D face on Preview Geometry: timeline, orbit, source and spoken geometry over each other. Without WebGL only the video shows.
import { readGeometry } from "./geometry_file.js";
import { fileUrl, make, viewOf } from "./view_widget.js";
import { word } from "./words.js";

const THREE_URL = new URL("../vendor/three-0.170.0/three.module.min.mjs", import.meta.url).href;
const COLOURS = { target: 0x5aa9ff, source: 0xffb35a };

function hasWebGL() {
  try {
    return Boolean(document.createElement("canvas").getContext("webgl2"));
  } catch {
    return false;
  }
}

/** Meshes, camera and light of one geometry file; draws a frame on demand. */
class FaceScene {
  constructor(THREE, geometry, canvas) {
    Object.assign(this, { THREE, geometry, canvas, yaw: 0, pitch: 0, distance: 4.2, faces: {} });
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(32, 1, 0.1, 50);
    const light = new THREE.DirectionalLight(0xffffff, 2.2);
    light.position.set(0.5, 1, 2);
    this.scene.add(light, new THREE.HemisphereLight(0xffffff, 0x445566, 1.1));
    for (const name of ["target", "source"]) if (geometry[name]) this.addFace(name);
  }

  addFace(name) {
    const { THREE, geometry } = this;
    const buffer = new THREE.BufferGeometry();
    buffer.setAttribute("position", new THREE.BufferAttribute(new Float32Array(3 * geometry.vertexCount), 3));
    buffer.setIndex(new THREE.BufferAttribute(geometry.triangles, 1));
    const solid = name === "target";
    const material = new THREE.MeshStandardMaterial({ color: COLOURS[name], roughness: 0.65, side: THREE.DoubleSide, wireframe: !solid, flatShading: false });
    const mesh = new THREE.Mesh(buffer, material);
    mesh.frustumCulled = false;
    this.faces[name] = mesh;
    this.scene.add(mesh);
  }

  show(what) {
    for (const [name, mesh] of Object.entries(this.faces)) {
      mesh.visible = what === "both" || what === name;
      mesh.material.wireframe = name === "source" && what === "both";
    }
  }

  draw(frame) {
    const { geometry, THREE } = this;
    const [width, height] = [this.canvas.clientWidth || 1, this.canvas.clientHeight || 1];
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.renderer.setPixelRatio(ratio);
      this.renderer.setSize(width, height, false);
      this.camera.aspect = width / height;
      this.camera.updateProjectionMatrix();
    }
    const turn = new THREE.Vector3(...geometry.rotation.subarray(3 * frame, 3 * frame + 3));
    const angle = turn.length();
    for (const [name, mesh] of Object.entries(this.faces)) {
      const place = mesh.geometry.attributes.position;
      const first = 3 * geometry.vertexCount * frame;
      for (let i = 0; i < place.array.length; i++) place.array[i] = geometry[name][first + i] * geometry.unit;
      place.needsUpdate = true;
      mesh.geometry.computeVertexNormals();
      if (angle > 0) mesh.quaternion.setFromAxisAngle(turn.clone().divideScalar(angle), angle);
    }
    const { yaw, pitch, distance } = this;
    this.camera.position.set(distance * Math.sin(yaw) * Math.cos(pitch), distance * Math.sin(pitch), distance * Math.cos(yaw) * Math.cos(pitch));
    this.camera.lookAt(0, 0, 0);
    this.renderer.render(this.scene, this.camera);
  }

  dispose() {
    for (const mesh of Object.values(this.faces)) {
      mesh.geometry.dispose();
      mesh.material.dispose();
    }
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }
}

function showVideo(element, file) {
  element.append(make("div", { className: "stage" }, make("video", { src: fileUrl(file), controls: true, loop: true, muted: true, playsInline: true })));
}

export async function addGeometryViewer(node, output) {
  const { video, mesh } = output.personatalk_geometry[0];
  const element = viewOf(node, "geometry", 320);
  if (!hasWebGL() || !mesh) return showVideo(element, video);
  let scene, geometry;
  const canvas = make("canvas", { tabIndex: 0, title: word("drag") });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${word("model")}: ${word("drag")}`);
  const film = make("video", { src: fileUrl(video), loop: true, muted: true, playsInline: true, hidden: true, preload: "auto" });
  const stage = make("div", { className: "stage" }, canvas, film);
  element.append(stage);
  try {
    const [THREE, answer] = await Promise.all([import(THREE_URL), fetch(fileUrl(mesh))]);
    geometry = readGeometry(await answer.arrayBuffer());
    scene = new FaceScene(THREE, geometry, canvas);
  } catch (error) {
    console.warn("PersonaTalk: no 3D view, showing the video.", error);
    element.replaceChildren();
    return showVideo(element, video);
  }

  const last = geometry.frameCount - 1;
  const play = make("button", { type: "button", textContent: "▶", title: word("play"), ariaLabel: word("play") });
  const time = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, ariaLabel: word("time") });
  const number = make("span", { className: "note" });
  const shown = make("select", { ariaLabel: word("shown") });
  for (const name of geometry.source ? ["both", "target", "source"] : ["target"]) shown.append(make("option", { value: name, textContent: word(name) }));
  shown.append(make("option", { value: "film", textContent: word("drawing") }));
  element.append(make("div", { className: "row" }, play, time, number, shown));

  let frame = 0, playing = 0, began = 0;
  const go = (to) => {
    frame = Math.max(0, Math.min(last, to));
    time.value = frame;
    number.textContent = `${frame + 1}/${last + 1}`;
    element.dataset.frame = frame;
    if (!canvas.hidden) scene.draw(frame);
    else if (!playing) film.currentTime = geometry.times[frame];
  };
  const run = (now) => {
    const length = geometry.times[last] + (geometry.times[1] ?? 0.04);
    const at = ((now - began) / 1000) % length;
    let next = geometry.times.findIndex((start) => start > at);
    go(next < 0 ? last : Math.max(0, next - 1));
    playing = requestAnimationFrame(run);
  };
  const toggle = () => {
    if (playing) {
      cancelAnimationFrame(playing);
      playing = 0;
      film.pause();
    } else {
      began = performance.now() - 1000 * geometry.times[frame];
      playing = requestAnimationFrame(run);
      if (!film.hidden) film.play().catch(() => {});
    }
    play.textContent = playing ? "❚❚" : "▶";
    play.title = play.ariaLabel = word(playing ? "pause" : "play");
  };
  const choose = () => {
    const filming = shown.value === "film";
    canvas.hidden = filming;
    film.hidden = !filming;
    if (!filming) scene.show(shown.value);
    go(frame);
  };
  play.addEventListener("click", toggle);
  time.addEventListener("input", () => go(Number(time.value)));
  shown.addEventListener("change", choose);
  canvas.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    canvas.setPointerCapture(event.pointerId);
    canvas.onpointermove = (move) => {
      scene.yaw -= move.movementX / 120;
      scene.pitch = Math.max(-1.4, Math.min(1.4, scene.pitch + move.movementY / 120));
      go(frame);
    };
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (canvas.onpointermove = null));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    event.stopPropagation();
    scene.distance = Math.max(1.5, Math.min(12, scene.distance * Math.exp(event.deltaY / 800)));
    go(frame);
  }, { passive: false });
  const KEYS = { ArrowLeft: () => go(frame - 1), ArrowRight: () => go(frame + 1), " ": toggle, Home: () => go(0), End: () => go(last) };
  canvas.addEventListener("keydown", (event) => {
    if (!KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  const resized = new ResizeObserver(() => go(frame));
  resized.observe(stage);
  element.addEventListener("personatalk-removed", () => {
    cancelAnimationFrame(playing);
    resized.disconnect();
    scene.dispose();
  }, { once: true });
  choose();
}
