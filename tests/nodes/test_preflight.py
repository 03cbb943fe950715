"""What is refused before a run starts, and that a check never switches off the host's own."""

import json
from pathlib import Path


def test_bad_face_and_frames_are_refused_in_a_sentence(in_host):
    said = in_host("""
import json
dub, references, save = nodes["PersonaTalkDubVideo"], nodes["PersonaTalkSelectReferences"], nodes["PersonaTalkSaveStyle"]
print(json.dumps([
    dub.validate_inputs(face="leftmost"), dub.validate_inputs(face="index:2"), dub.validate_inputs(face=None),
    references.validate_inputs(exclude="3-1", pin=""), references.validate_inputs(exclude="3, 7-9", pin="x"),
    references.validate_inputs(exclude=None, pin=None),
    save.validate_inputs(file_name="../evil"), save.validate_inputs(file_name="a/b"), save.validate_inputs(file_name="Anna 2.v1"),
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


def test_progress_runs_once_over_all_stages_and_asks_for_cancel(in_host):
    values = in_host("""
import json, types
sent, asked = [], []
class Bar:
    def __init__(self, total, node_id=None): sent.append(total)
    def update_absolute(self, value, total=None, preview=None): sent.append(value)
comfy, utils, mm = (types.ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_management"))
comfy.utils, comfy.model_management, utils.ProgressBar = utils, mm, Bar
sys.modules.update({"comfy": comfy, "comfy.utils": utils, "comfy.model_management": mm})
class Stop(BaseException): pass
def throw():
    asked.append(1)
    if len(asked) > 9: raise Stop
mm.throw_exception_if_processing_interrupted = throw
stages = part("nodes.progress_bar").NodeStages("1", "tracking", "geometry", "rendering")
try:
    for name in ("tracking", "geometry", "rendering"):
        step = stages.stage(name)
        for done in (1, 2, 3): step(done, 3)
    stopped = False
except Stop:
    stopped = True
print(json.dumps([sent, stopped]))
""")
    sent, stopped = values
    assert stopped, "a cancelled run must leave through on_progress"
    steps = sent[1:]
    assert steps == sorted(steps) and 0 < steps[0] < steps[-1] < sent[0]


def test_folders_and_weight_choices(in_host, tmp_path):
    (tmp_path / "personatalk" / "anna").mkdir(parents=True)
    (tmp_path / "personatalk" / "styles").mkdir()
    (tmp_path / "personatalk" / "styles" / "calm.safetensors").write_bytes(b"x")
    (tmp_path / "personatalk" / "anna" / "renderer.safetensors").write_bytes(b"x")
    said = in_host(f"""
import json, folder_paths
folder_paths.models_dir = {str(tmp_path)!r}
for name in ("personatalk", "personatalk_styles"): folder_paths.folder_names_and_paths.pop(name, None)
folders = part("nodes.model_folders")
folders.register_folders()
print(json.dumps([folders.weight_choices(), folders.style_choices(), str(folders.weights_folder("models/personatalk/anna")),
                  folders.weights_folder("bundled"), folders.folder_state("models/personatalk/anna") != folders.folder_state("bundled"),
                  str(folders.new_style_path("x"))]))
""")
    assert said[0] == ["models/personatalk", "models/personatalk/anna", "bundled"]
    assert said[1] == ["calm.safetensors"] and said[2] == str(tmp_path / "personatalk" / "anna") and said[3] is None and said[4]
    assert said[5] == str(tmp_path / "personatalk" / "styles" / "x.safetensors")
