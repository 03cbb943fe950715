"""What is refused before a run starts, and that a check never switches off the host's own."""

import json
from pathlib import Path


def test_bad_face_and_frames_are_refused_in_a_sentence(in_host):
    said = in_host("""
import json
dub, references, save = map(nodes.get, ("PersonaTalkDubVideo", "PersonaTalkSelectReferences",
                                        "PersonaTalkSaveStyle"))
print(json.dumps([
    dub.validate_inputs(face="leftmost"), dub.validate_inputs(face="index:2"), dub.validate_inputs(face=None),
    references.validate_inputs(exclude="3-1", pin=""), references.validate_inputs(exclude="3, 7-9", pin="x"),
    references.validate_inputs(exclude=None, pin=None),
    save.validate_inputs(file_name="../evil"), save.validate_inputs(file_name="a/b"),
save.validate_inputs(file_name="Anna 2.v1"),
]))
""")
    assert "leftmost" in said[0] and said[1] is True and said[2] is True
    assert "backwards" in said[3] and "'x'" in said[4] and said[5] is True
    assert "evil" in said[6] and "a/b" in said[7] and said[8] is True


def test_checks_name_no_input_with_a_range(in_host):
    """Naming an input in validate_inputs switches off the host's check of its range or options."""
    named = in_host("""
import inspect, json
checked = {key: node.validate_inputs for key, node in nodes.items() if "validate_inputs" in vars(node)}
print(json.dumps({key: list(inspect.signature(check).parameters) for key, check in checked.items()}))
""")
    info = json.loads(Path(__file__).with_name("object_info.json").read_text(encoding="utf-8"))
    for node, names in named.items():
        inputs = {**info[node]["input"]["required"], **info[node]["input"].get("optional", {})}
        assert {inputs[name][0] for name in names} == {"STRING"}, node


HOST = """
import json, types
sent, asked, cancelled = [], [], []
class Bar:
    def __init__(self, total, node_id=None): sent.append(total)
    def update_absolute(self, value, total=None, preview=None): sent.append(value)
comfy, utils, mm = (types.ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management"))
comfy.utils, comfy.model_management, utils.ProgressBar = utils, mm, Bar
sys.modules.update({"comfy": comfy, "comfy.utils": utils, "comfy.model_management": mm})
class Stop(BaseException): pass
def throw():
    asked.append(1)
    if cancelled: raise Stop
mm.throw_exception_if_processing_interrupted = throw
NodeProgress = part("nodes.progress_bar").NodeProgress
"""
FOLDERS = """
import json, folder_paths
folder_paths.models_dir = MODELS
for name in ("personatalk", "personatalk_styles"): folder_paths.folder_names_and_paths.pop(name, None)
folders = part("nodes.model_folders")
folders.register_folders()
"""
GOOD_NAMES = ["Anna", "安娜", "Anna 2.v1", "e\u0301mile", "COMEDY"]
BAD_NAMES = [
    "anna",
    "ANNA",
    "con",
    "CON.v2",
    "nul",
    "Com1",
    "LPT9.x",
    "a:b",
    "a/b",
    "a\\b",
    "C:\\x",
    "\\\\server\\share",
    "../a",
    "..",
    ".",
]
BAD_NAMES += [".", "", " a", "a ", "a.", "a*", "a?", 'a"', "a<b", "a|b", "a\0b", "a\nb", "x" * 121, "安" * 41]


def test_progress_runs_once_over_all_stages_and_asks_for_cancel(in_host):
    sent, stopped = in_host(
        HOST
        + """
with NodeProgress("1", "tracking", "geometry", "rendering") as stages:
    try:
        for name in ("tracking", "geometry", "rendering"):
            step = stages.stage(name)
            for done in (1, 2, 3):
                cancelled.extend([1] * (name == "rendering" and done == 3))
                step(done, 3)
        stopped = False
    except Stop:
        stopped = True
print(json.dumps([sent, stopped]))
"""
    )
    assert stopped, "a cancelled run must leave through on_progress"
    steps = sent[1:]
    assert steps == sorted(steps) and 0 < steps[0] < steps[-1] < sent[0]


def test_cancel_reaches_into_a_long_computation(in_host):
    """Between two progress steps every operation of torch may stop, but it does not ask the host each
    time."""
    stopped, steps, asked = in_host(
        HOST
        + """
import time, torch
done = 0
try:
    with NodeProgress("1", "rendering"), torch.inference_mode():
        while done < 2000:
            torch.ones(3) + 1
            time.sleep(0.001)
            done += 1
            if done == 400: cancelled.append(1)
    stopped = False
except Stop:
    stopped = True
torch.ones(3) + 1  # outside, nobody is asked
print(json.dumps([stopped, done, len(asked)]))
"""
    )
    assert stopped and 400 <= steps < 1000
    assert asked < 50


def test_style_names_work_on_every_system(in_host, tmp_path):
    """Windows' devices and characters, names longer than a file system takes, names that differ in case
    only."""
    said = in_host(
        f"MODELS, names = {str(tmp_path)!r}, {GOOD_NAMES + BAD_NAMES!r}"
        + FOLDERS
        + """
save = nodes["PersonaTalkSaveStyle"]
folders.new_style_path("Anna").parent.mkdir(parents=True)
folders.new_style_path("Anna").write_bytes(b"x")
print(json.dumps([save.validate_inputs(file_name=name) for name in names]))
"""
    )
    assert said[: len(GOOD_NAMES)] == [True] * len(GOOD_NAMES)
    for name, answer in zip(BAD_NAMES, said[len(GOOD_NAMES) :], strict=True):
        assert isinstance(answer, str) and answer.startswith("file_name") and answer.endswith("."), (
            name,
            answer,
        )


def test_a_workflow_cannot_point_outside_the_folders(in_host, tmp_path):
    """Combos are checked by the host; a value that comes over a wire is not, so the nodes check again."""
    (tmp_path / "models" / "personatalk" / "styles").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x.safetensors").write_bytes(b"x")
    outside = [
        "models/personatalk/../../secret",
        "models/personatalk/styles",
        str(secret),
        "../../secret",
        "C:/secret",
    ]
    files = [
        "../../../secret/x.safetensors",
        str(secret / "x.safetensors"),
        "C:/x.safetensors",
        "..\\x.safetensors",
    ]
    hubs = ["../../secret", "http://example.org/x@" + "0" * 40, "a/b@main", "a/b@" + "0" * 40]
    answers, states, styles, checked = in_host(
        f"MODELS, outside, files, hubs = {str(tmp_path / 'models')!r}, {outside!r}, {files!r}, {hubs!r}"
        + FOLDERS
        + """
answers = []
for choice in outside:
    try:
        answers.append(f"opened {folders.weights_folder(choice)}")
    except Exception as error:
        answers.append(str(error))
for name in files:
    try:
        answers.append(f"opened {folders.initializer_of(name)}")
    except Exception as error:
        answers.append(str(error))
states = [folders.folder_state(choice) for choice in outside] + [folders.initializer_state(name) for name in
files]
load = nodes["PersonaTalkLoadModels"]
print(json.dumps([answers, states, [folders.style_path(f) for f in files], [load.validate_inputs(hub=text) for
text in hubs]]))
"""
    )
    assert all("expected one of models/personatalk, bundled" in text for text in answers[: len(outside)]), (
        answers
    )
    assert all("expected one of landmarks" in text for text in answers[len(outside) :]), answers
    assert set(states) == {""} and set(styles) == {None}
    assert all(isinstance(text, str) and "expected" in text for text in checked[:3]) and checked[3] is True


def test_folders_and_weight_choices(in_host, tmp_path):
    (tmp_path / "personatalk" / "anna").mkdir(parents=True)
    (tmp_path / "personatalk" / "styles").mkdir()
    (tmp_path / "personatalk" / "styles" / "calm.safetensors").write_bytes(b"x")
    (tmp_path / "personatalk" / "anna" / "renderer.safetensors").write_bytes(b"x")
    (tmp_path / "personatalk" / "initializers").mkdir()
    (tmp_path / "personatalk" / "initializers" / "deng.safetensors").write_bytes(b"x")
    said = in_host(f"""
import json, folder_paths
folder_paths.models_dir = {str(tmp_path)!r}
for name in ("personatalk", "personatalk_styles"): folder_paths.folder_names_and_paths.pop(name, None)
folders = part("nodes.model_folders")
folders.register_folders()
print(json.dumps([folders.weight_choices(), folders.style_choices(),
                  str(folders.weights_folder("models/personatalk/anna")),
                  folders.weights_folder("bundled"), folders.folder_state("models/personatalk/anna") !=
                  folders.folder_state("bundled"),
                  str(folders.new_style_path("x")), folders.initializer_choices(),
                  folders.initializer_of("deng.safetensors"),
                  folders.initializer_state("deng.safetensors"), folders.initializer_of("landmarks")]))
""")
    assert said[0] == ["models/personatalk", "models/personatalk/anna", "bundled"]
    assert (
        said[1] == ["calm.safetensors"]
        and said[2] == str(tmp_path / "personatalk" / "anna")
        and said[3] is None
        and said[4]
    )
    assert said[5] == str(tmp_path / "personatalk" / "styles" / "x.safetensors")
    assert said[6] == ["landmarks", "deng.safetensors"] and said[9] == "landmarks"
    assert said[7] == str(tmp_path / "personatalk" / "initializers" / "deng.safetensors") and said[
        8
    ].startswith("1:")
