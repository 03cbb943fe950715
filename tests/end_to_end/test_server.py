"""The pack on a real ComfyUI server over websocket: every workflow, progress, cancel, cache, refusals."""

import json
import threading
import time
from pathlib import Path

import pytest
from comfy_server import Refused

WORKFLOWS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
CANCEL_SECONDS = 1.0
GOLDEN = Path(__file__).resolve().parents[1] / "nodes" / "object_info.json"


def id_of(prompt: dict, node_type: str) -> str:
    return next(key for key, node in prompt.items() if node["class_type"] == node_type)


def files_of(comfy, folder: str) -> set[str]:
    return {path.name for path in (comfy.base / folder).rglob("*") if path.is_file()}


def test_the_server_offers_the_golden_nodes(comfy):
    offered = {key: info for key, info in comfy.get("/object_info").items() if key.startswith("PersonaTalk")}
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for info in (*offered.values(), *golden.values()):
        for name in ("weights", "file"):  # what is offered depends on the user's folders
            if name in info["input"]["required"]:
                info["input"]["required"][name][1].pop("options")
        info.pop("python_module")
    assert offered == golden


def test_the_page_gets_scripts_and_words(comfy):
    scripts = [path for path in comfy.get("/extensions") if "PersonaTalk" in path]
    assert scripts, "no script of web/js is served"
    assert "PersonaTalkDubVideo" in comfy.get("/i18n")["zh"]["nodeDefs"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_workflow_runs(comfy, prompt_of, name):
    from personatalk_core.media.provenance import read_marks
    from personatalk_core.media.video_reader import probe

    prompt = prompt_of(name)
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    saved = [
        item
        for key, node in prompt.items()
        if node["class_type"] == "SaveVideo"
        for item in run.outputs[key]["images"]
    ]
    assert saved
    for item in saved:
        info = probe(comfy.base / "output" / item["subfolder"] / item["filename"])
        assert (info.width, info.height) == (350, 350)
        assert info.duration == pytest.approx(1.8, abs=0.07), "bounce: as long as the speech"
    assert read_marks(Path(info.path)) is not None


def test_progress_and_previews_reach_the_page(comfy, prompt_of):
    prompt = prompt_of("dub_video")
    dub = id_of(prompt, "PersonaTalkDubVideo")
    prompt[dub]["inputs"]["style_strength"] = 0.9  # nothing of an earlier run fits
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    values = [
        state[dub]["value"] for state in (data["nodes"] for data in run.of("progress_state")) if dub in state
    ]
    assert values == sorted(values) and len(set(values)) > 5
    assert run.previews >= 1
    report = json.loads(run.outputs[id_of(prompt, "PreviewAny")]["text"][0])
    assert report["frames"] == len(report["status"]) and report["dubbed"] > 0
    view = run.outputs[dub]["personatalk_dub"][0]
    assert view["before"]["type"] == "input" and view["after"]["type"] == "temp"


CANCELS = {  # stage -> value of the bar at which it begins, seconds of work after which the user cancels
    "tracking": (20, 0.3),
    "geometry": (200, 0.3),
    "speech to geometry": (280, 0.1),
    "first references": (300, 0.3),
    "rendering": (310, 0.2),
}


@pytest.mark.parametrize("stage", CANCELS)
def test_cancel_takes_less_than_a_second_and_leaves_nothing(comfy, prompt_of, stage):
    """On a clip of 22 s and a speech of 60 s, so that no stage is over before the cancel arrives."""
    prompt = prompt_of("dub_video")
    dub = id_of(prompt, "PersonaTalkDubVideo")
    prompt[id_of(prompt, "LoadVideo")]["inputs"]["file"] = "long_person.mp4"
    prompt[id_of(prompt, "LoadAudio")]["inputs"]["audio"] = "long_speech.wav"
    prompt[dub]["inputs"]["length"] = "silence"
    begins, after = CANCELS[stage]
    before, asked = files_of(comfy, "temp") | files_of(comfy, "output"), []

    def cancel() -> None:
        asked.extend((time.monotonic(), comfy.cpu_seconds()))
        comfy.post("/interrupt", {})

    waiting = threading.Timer(after, cancel)

    def interrupt(message: dict) -> None:
        nodes = message["data"].get("nodes", {}) if message["type"] == "progress_state" else {}
        if not waiting.ident and nodes.get(dub, {}).get("value", 0) >= begins:
            waiting.start()

    run = comfy.run(prompt, interrupt)
    waiting.join()
    seconds, worked = time.monotonic() - asked[0], comfy.cpu_seconds() - asked[1]
    last = run.of("progress_state")[-1]["nodes"][dub]["value"]
    print(f"cancelled in {stage}, at {last} of 1000: {seconds:.2f} s, {worked:.2f} s of them at work")
    assert run.ended == "execution_interrupted"
    assert seconds < CANCEL_SECONDS or worked < CANCEL_SECONDS / 2, (
        "the second allows for a machine that is busy with others"
    )
    made = (files_of(comfy, "temp") | files_of(comfy, "output")) - before
    assert {name for name in made if not name.endswith(".wav")} == set(), (
        "only the sound that came in may stay, for the next try"
    )


def test_a_new_style_strength_runs_only_what_follows_it(comfy, prompt_of):
    prompt = prompt_of("swap_style")
    speaking = id_of(prompt, "PersonaTalkGenerateGeometry")
    prompt[speaking]["inputs"]["style_strength"] = 0.7
    assert comfy.run(prompt).ended == "execution_success"
    prompt[speaking]["inputs"]["style_strength"] = 0.6
    again = comfy.run(prompt)
    assert again.ended == "execution_success"
    ran = {prompt[key]["class_type"] for key in again.executed}
    assert ran == {"PersonaTalkGenerateGeometry", "PersonaTalkRenderFaces", "SaveVideo"}


def test_nothing_runs_twice(comfy, prompt_of):
    prompt = prompt_of("dub_video")
    comfy.run(prompt)
    assert comfy.run(prompt).executed == []


def test_a_wrong_wire_is_refused(comfy, prompt_of):
    prompt = prompt_of("dub_video")
    prompt[id_of(prompt, "PersonaTalkDubVideo")]["inputs"]["style"] = [
        id_of(prompt, "PersonaTalkLoadModels"),
        0,
    ]
    with pytest.raises(Refused) as caught:
        comfy.post("/prompt", {"prompt": prompt, "client_id": comfy.client})
    text = json.dumps(caught.value.answer)
    assert "return_type_mismatch" in text and "PERSONATALK_STYLE" in text


@pytest.mark.parametrize(
    ("node", "name", "value", "word"),
    [
        ("PersonaTalkDubVideo", "face", "leftmost", "leftmost"),
        ("PersonaTalkDubVideo", "style_strength", 3.0, "value_bigger_than_max"),
        ("PersonaTalkDubVideo", "length", "backwards", "value_not_in_list"),
        ("PersonaTalkDubVideo", "lip_references", 0, "value_smaller_than_min"),
    ],
)
def test_a_bad_value_is_refused_before_anything_runs(comfy, prompt_of, node, name, value, word):
    prompt = prompt_of("dub_video")
    prompt[id_of(prompt, node)]["inputs"][name] = value
    with pytest.raises(Refused) as caught:
        comfy.post("/prompt", {"prompt": prompt, "client_id": comfy.client})
    assert word in json.dumps(caught.value.answer)


def test_a_video_without_a_face_says_so_in_one_sentence(comfy, prompt_of):
    from fractions import Fraction

    import numpy as np

    from personatalk_core.media.array_files import write_frames

    write_frames(
        comfy.base / "input" / "no_face.mp4", np.full((6, 96, 128, 3), 90, np.uint8), 6, Fraction(15)
    )
    prompt = prompt_of("dub_video")
    prompt[id_of(prompt, "LoadVideo")]["inputs"]["file"] = "no_face.mp4"
    run = comfy.run(prompt)
    assert run.ended == "execution_error"
    assert "no face was found" in run.error and run.error.count("\n") <= 1


def test_images_go_the_same_way_as_a_video_file(comfy, prompt_of):
    """IMAGE, fps and AUDIO in; IMAGE and MASK out."""
    prompt = prompt_of("dub_video")
    dub = id_of(prompt, "PersonaTalkDubVideo")
    inputs = prompt[dub]["inputs"]
    images = {name: inputs[name] for name in ("models", "audio", "style_strength", "face")} | {
        "length": "silence"
    }
    prompt = {
        key: node
        for key, node in prompt.items()
        if node["class_type"] in ("LoadVideo", "LoadAudio", "PersonaTalkLoadModels")
    }
    prompt["parts"] = {"class_type": "GetVideoComponents", "inputs": {"video": inputs["video"]}}
    prompt["dub"] = {
        "class_type": "PersonaTalkDubImages",
        "inputs": images | {"images": ["parts", 0], "fps": ["parts", 2]},
    }
    prompt["show"] = {"class_type": "PreviewImage", "inputs": {"images": ["dub", 0]}}
    prompt["mask"] = {"class_type": "MaskPreview", "inputs": {"mask": ["dub", 1]}}
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    assert len(run.outputs["show"]["images"]) == len(run.outputs["mask"]["images"]) == 24


def saved_video(comfy, prompt: dict, run) -> Path:
    item = run.outputs[id_of(prompt, "SaveVideo")]["images"][0]
    return comfy.base / "output" / item["subfolder"] / item["filename"]


def test_a_trimmed_video_is_the_same_video_for_every_node(comfy, prompt_of):
    """Trim Video hands on a window of a file: tracking and rendering each cut it out, and must meet the same
    frames."""
    from personatalk_core.media.video_reader import probe

    prompt = prompt_of("step_by_step")
    video = id_of(prompt, "LoadVideo")
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if value == [video, 0]:
                node["inputs"][name] = ["trim", 0]
    prompt["trim"] = {
        "class_type": "Video Slice",
        "inputs": {"video": [video, 0], "start_time": 0.4, "duration": 0.8, "strict_duration": False},
    }
    preview = id_of(prompt, "PersonaTalkPreviewGeometry")
    prompt = {
        key: node
        for key, node in prompt.items()
        if key != preview and node["inputs"].get("video") != [preview, 0]
    }
    prompt[id_of(prompt, "PersonaTalkGenerateGeometry")]["inputs"]["length"] = "silence"
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    assert probe(saved_video(comfy, prompt, run)).duration == pytest.approx(0.8, abs=0.15)


def test_a_video_made_of_images_is_dubbed_without_loss_before(comfy, prompt_of):
    """Create Video holds pictures in memory; they reach the core bit for bit, at their own rate."""
    from personatalk_core.media.video_reader import probe

    prompt = prompt_of("dub_video")
    dub = id_of(prompt, "PersonaTalkDubVideo")
    prompt["parts"] = {
        "class_type": "GetVideoComponents",
        "inputs": {"video": prompt[dub]["inputs"]["video"]},
    }
    prompt["made"] = {"class_type": "CreateVideo", "inputs": {"images": ["parts", 0], "fps": 12.5}}
    prompt[dub]["inputs"] |= {"video": ["made", 0], "length": "silence"}
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    info = probe(saved_video(comfy, prompt, run))
    assert info.frame_count == 24 and float(info.rate) == 12.5
