"""Manners on a real ComfyUI server: hostile workflows, two prompts at once, broken weights, other packs'
sockets, memory of long clips."""

import hashlib
import time
from pathlib import Path

import pytest
from comfy_server import Refused

EXTRA_MEGABYTES = 150  # a clip of 336 frames may take beyond one of 24; its frames alone are 494 MB as IMAGE


def id_of(prompt: dict, node_type: str) -> str:
    return next(key for key, node in prompt.items() if node["class_type"] == node_type)


def tracking_of(prompt: dict, **inputs) -> dict:
    """Load Models, Load Video and Track Face only."""
    kept = {
        key: node
        for key, node in prompt.items()
        if node["class_type"] in ("LoadVideo", "PersonaTalkLoadModels")
    }
    wires = {
        "models": [id_of(prompt, "PersonaTalkLoadModels"), 0],
        "video": [id_of(prompt, "LoadVideo"), 0],
        "face": "auto",
    }
    return kept | {"track": {"class_type": "PersonaTalkTrackFace", "inputs": wires | inputs}}


HOSTILE = [
    ("LoadVideo", "file", "../../../../etc/passwd"),
    ("LoadVideo", "file", "/etc/passwd"),
    ("LoadAudio", "audio", "../../../../etc/passwd"),
    ("SaveVideo", "filename_prefix", "../../escaped"),
    ("SaveVideo", "filename_prefix", "/tmp/escaped"),
    ("PersonaTalkLoadModels", "weights", "models/personatalk/../../.."),
    ("PersonaTalkLoadModels", "weights", "/etc"),
    ("PersonaTalkLoadModels", "hub", "../../etc@" + "0" * 40),
    ("PersonaTalkLoadStyle", "file", "../../../../etc/passwd"),
    ("PersonaTalkLoadStyle", "file", "/etc/passwd"),
    ("PersonaTalkSaveStyle", "file_name", "../../escaped"),
    ("PersonaTalkSaveStyle", "file_name", "/tmp/escaped"),
    ("PersonaTalkSaveStyle", "file_name", "C:\\escaped"),
]


@pytest.mark.parametrize(("node", "name", "value"), HOSTILE)
def test_a_path_outside_the_folders_is_refused_with_a_sentence(comfy, prompt_of, node, name, value):
    prompt = prompt_of("swap_style" if node == "PersonaTalkSaveStyle" else "dub_video")
    if node == "PersonaTalkSaveStyle":
        prompt.pop(id_of(prompt, "SaveVideo"))  # an output that is fine would run
    if node == "PersonaTalkLoadStyle":
        prompt["hostile"] = {"class_type": node, "inputs": {"file": value}}
        prompt[id_of(prompt, "PersonaTalkDubVideo")]["inputs"]["style"] = ["hostile", 0]
    prompt[id_of(prompt, node)]["inputs"][name] = value
    said = refusal(comfy, prompt)
    assert ("expected" in said) == node.startswith("PersonaTalk") or "not in list" in said, said
    assert [
        path for folder in (comfy.base, comfy.base.parent, Path("/tmp")) for path in folder.glob("escaped*")
    ] == []


def test_a_path_that_comes_over_a_wire_is_refused_too(comfy, prompt_of):
    prompt = prompt_of("swap_style")
    prompt["text"] = {"class_type": "PrimitiveString", "inputs": {"value": "../../escaped"}}
    prompt[id_of(prompt, "PersonaTalkSaveStyle")]["inputs"]["file_name"] = ["text", 0]
    run = comfy.run(prompt)
    assert run.ended == "execution_error" and "file_name is '../../escaped'" in run.error
    assert list(comfy.base.glob("escaped*")) == []


def refusal(comfy, prompt: dict) -> str:
    """What the user is told: by the server before anything runs, or by the node itself."""
    try:
        run = comfy.run(prompt)
    except Refused as refused:
        said = [error for node in refused.answer["node_errors"].values() for error in node["errors"]]
        return " ".join(f"{error['message']}: {error['details']}" for error in said)
    assert run.ended == "execution_error" and len(run.error) > 20, run.error
    assert "root:" not in run.error, "the content of the file must not be told"
    return run.error


def dubbed_file(comfy, prompt: dict, outputs: dict) -> str:
    """sha256 of the video that the run's Dub Video wrote."""
    after = outputs[id_of(prompt, "PersonaTalkDubVideo")]["personatalk_dub"][0]["after"]
    return hashlib.sha256(
        (comfy.base / after["type"] / after["subfolder"] / after["filename"]).read_bytes()
    ).hexdigest()


def test_two_prompts_queued_at_once_give_the_same_as_alone(comfy, prompt_of):
    first, second = prompt_of("dub_video"), prompt_of("dub_video")
    first[id_of(first, "PersonaTalkDubVideo")]["inputs"] |= {"style_strength": 0.5, "lip_references": 3}
    second[id_of(second, "PersonaTalkDubVideo")]["inputs"] |= {"style_strength": 1.5, "face_references": 2}
    second[id_of(second, "LoadVideo")]["inputs"]["file"] = "other_speaker.mp4"

    def forget() -> None:
        comfy.post("/free", {"unload_models": True, "free_memory": True})
        time.sleep(2)  # the server's worker does it between prompts

    alone = []
    for prompt in (first, second):
        run = comfy.run(prompt)
        assert run.ended == "execution_success", run.error
        alone.append(dubbed_file(comfy, prompt, run.outputs))
        forget()
    earlier = comfy.post("/prompt", {"prompt": first, "client_id": comfy.client})["prompt_id"]
    run = comfy.run(second)
    assert run.ended == "execution_success" and id_of(second, "PersonaTalkDubVideo") in run.executed
    outputs = comfy.get(f"/history/{earlier}")[earlier]["outputs"]
    assert [dubbed_file(comfy, first, outputs), dubbed_file(comfy, second, run.outputs)] == alone
    assert alone[0] != alone[1]


def test_a_broken_weight_file_stops_the_run_in_a_sentence(comfy, prompt_of):
    folder = comfy.base / "models" / "personatalk" / "broken"
    folder.mkdir(parents=True)
    (folder / "renderer.safetensors").write_bytes(b"\0" * 1000)
    prompt = prompt_of("dub_video")
    prompt[id_of(prompt, "PersonaTalkLoadModels")]["inputs"]["weights"] = "models/personatalk/broken"
    run = comfy.run(prompt)
    assert run.ended == "execution_error" and "renderer" in run.error and run.error.count("\n") <= 1, (
        run.error
    )


def test_the_source_has_a_row_of_its_own_where_it_has_sound(comfy, prompt_of):
    prompt = prompt_of("evaluate")
    prompt[id_of(prompt, "LoadVideo")]["inputs"]["file"] = "person_with_sound.mp4"
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    table = run.outputs[id_of(prompt, "PreviewAny")]["text"][0]
    assert ("dub" in table.splitlines()[0] and "source" in table.splitlines()[0]) or "| source" in table, (
        table
    )


def test_a_tracked_face_speaks_the_sockets_of_comfyui(comfy, prompt_of):
    """FACE_LANDMARKS makes a mask in ComfyUI's own node; a box of any detector chooses the face."""
    prompt = tracking_of(prompt_of("dub_video"))
    prompt["mask"] = {
        "class_type": "MediaPipeFaceMask",
        "inputs": {"face_landmarks": ["track", 2], "regions": "all"},
    }
    prompt["show"] = {"class_type": "MaskPreview", "inputs": {"mask": ["mask", 0]}}
    prompt["again"] = {
        "class_type": "PersonaTalkTrackFace",
        "inputs": prompt["track"]["inputs"] | {"face": "index:7", "face_box": ["track", 3]},
    }
    for key in ("track", "again"):
        prompt[f"text of {key}"] = {"class_type": "PreviewAny", "inputs": {"source": [key, 1]}}
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    assert len(run.outputs["show"]["images"]) == 24
    assert run.outputs["text of track"] == run.outputs["text of again"]


def test_a_faster_geometry_makes_a_shorter_video(comfy, prompt_of):
    from personatalk_core.media.video_reader import probe

    prompt = prompt_of("step_by_step")
    prompt[id_of(prompt, "PersonaTalkEditGeometry")]["inputs"]["speed"] = 2.0
    save = next(
        key
        for key, node in prompt.items()
        if node["class_type"] == "SaveVideo" and "step" in node["inputs"]["filename_prefix"]
    )
    run = comfy.run(prompt)
    assert run.ended == "execution_success", run.error
    item = run.outputs[save]["images"][0]
    info = probe(comfy.base / "output" / item["subfolder"] / item["filename"])
    assert info.duration == pytest.approx(0.9, abs=0.07) and float(info.rate) == pytest.approx(15, abs=0.1)
    assert not info.has_audio, "the old sound does not fit"


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux's /proc"
)
def test_a_long_video_takes_no_more_memory_than_a_short_one(comfy, prompt_of):
    """From file to file: the frames of the clip are never in memory together."""
    process = Path("/proc") / str(comfy.process.pid)

    def peak_of(video: str) -> float:
        prompt = prompt_of("dub_video")
        prompt[id_of(prompt, "LoadVideo")]["inputs"]["file"] = video
        prompt[id_of(prompt, "PersonaTalkDubVideo")]["inputs"] |= {
            "length": "silence",
            "lip_references": 2,
            "face_references": 1,
        }
        prompt.pop(id_of(prompt, "SaveVideo"))
        (process / "clear_refs").write_text("5")  # forget the peak so far
        run = comfy.run(prompt)
        assert run.ended == "execution_success", run.error
        lines = (process / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    short, long = peak_of("talking_person.mp4"), peak_of("long_person.mp4")
    print(f"peak {short:.0f} MB for 24 frames, {long:.0f} MB for 336")
    assert long < short + EXTRA_MEGABYTES
