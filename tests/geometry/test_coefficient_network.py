"""The published network's layout with random weights made here: the real ones may not be shipped."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from personatalk_core.errors import ShapeError, WeightsError
from personatalk_core.geometry.camera import axis_angle
from personatalk_core.geometry.coefficient_network import (
    CROP,
    FIVE_LANDMARKS,
    FIVE_POINTS,
    HEADS,
    CoefficientNetwork,
    NetworkCoefficients,
    alignment_boxes,
    euler_rotation,
    load_coefficient_network,
    read_coefficients,
    starting_coefficients,
)
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.initialisation import Coefficients, reconstruct
from personatalk_core.weights.checkpoint import sha256_of


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Half-precision random weights under the published names."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "deng.safetensors"
    save_file(
        {
            name: v.half() if v.is_floating_point() else v
            for name, v in CoefficientNetwork().state_dict().items()
        },
        path,
    )
    return path


def changed(checkpoint, path, change):
    from safetensors.torch import load_file

    tensors = load_file(checkpoint)
    change(tensors)
    save_file(tensors, path)
    return path


def test_names_and_shapes_are_the_published_ones():
    state = CoefficientNetwork().state_dict()
    assert len(state) == 318 + 2 * 7  # torchvision's ResNet-50 without its classifier, and seven heads
    assert state["backbone.conv1.weight"].shape == (64, 3, 7, 7)
    assert state["backbone.layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["backbone.layer3.5.conv2.weight"].shape == (256, 256, 3, 3)
    assert state["backbone.layer4.2.bn3.running_var"].shape == (2048,)
    assert [state[f"final_layers.{k}.weight"].shape for k in range(7)] == [
        (n, 2048, 1, 1) for n in (80, 64, 80, 3, 27, 2, 1)
    ]
    assert sum(HEADS.values()) == 257


def test_loaded_network_reads_crops_in_batches_as_one_by_one(checkpoint):
    network = load_coefficient_network(checkpoint, sha256=sha256_of(checkpoint))
    assert not network.training
    crops = np.random.default_rng(0).integers(0, 255, (3, CROP, CROP, 3), np.uint8)
    found = read_coefficients(network, crops)
    assert (
        found.identity.shape == (3, 80) and found.expression.shape == (3, 64) and found.angle.shape == (3, 3)
    )
    single = read_coefficients(network, crops[1:2])
    torch.testing.assert_close(found.expression[1:2], single.expression, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.update({"final_layers.1.weight": torch.zeros(10, 2048, 1, 1)}), "final_layers.1.weight"),
        (lambda t: t.pop("backbone.layer2.0.conv1.weight"), "backbone.layer2.0.conv1.weight"),
        (lambda t: t.update({"extra.weight": torch.zeros(1)}), "extra.weight"),
        (
            lambda t: t["backbone.conv1.weight"].fill_(float("nan")),
            "non-finite values in 'backbone.conv1.weight'",
        ),
    ],
)
def test_other_tensors_are_refused_by_name(checkpoint, tmp_path, change, match):
    with pytest.raises(WeightsError, match=match):
        load_coefficient_network(changed(checkpoint, tmp_path / "other.safetensors", change))


def test_missing_pickled_damaged_or_other_files_are_refused(checkpoint, tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load_coefficient_network(tmp_path / "none.safetensors")
    (tmp_path / "epoch_20.pth").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="is a pickle"):
        load_coefficient_network(tmp_path / "epoch_20.pth")
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_coefficient_network(tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="expected 00"):
        load_coefficient_network(checkpoint, sha256="00")


def test_the_crop_brings_the_five_points_to_their_place():
    marks = torch.zeros(2, 478, 3)
    for ids, (x, y, _) in zip(FIVE_LANDMARKS, FIVE_POINTS, strict=True):
        marks[:, list(ids)] = torch.tensor([300 + 80 * x, 200 - 80 * y, 0.0])
    x, y, side = alignment_boxes(marks)[0]
    assert float(x) == pytest.approx(300, abs=0.5) and float(y) == pytest.approx(200, abs=0.5)
    assert float(side) == pytest.approx(80 * CROP / 102, rel=1e-3)


def test_angles_turn_as_published():
    yaw = euler_rotation(torch.tensor([[0.0, 0.3, 0.0]]))[0]
    nose = torch.tensor([np.sin(0.3), 0.0, np.cos(0.3)]).float()  # goes to the image's right
    torch.testing.assert_close(yaw @ torch.tensor([0.0, 0, 1]), nose)
    both = euler_rotation(torch.tensor([[0.2, 0.3, -0.1]]))[0]
    x, y, z = (euler_rotation(torch.eye(3)[k : k + 1] * a)[0] for k, a in enumerate((0.2, 0.3, -0.1)))
    torch.testing.assert_close(both, z @ y @ x)


def known_pose(model, frames=4):
    t = torch.linspace(0, 1, frames)
    angle = torch.stack([0.1 * t, 0.3 - 0.2 * t, 0.05 + 0 * t], 1)
    rotation = axis_angle(euler_rotation(angle))
    place = torch.stack([200 + 9 * t, 150 - 4 * t], 1)
    return angle, Coefficients(
        torch.zeros(model.identity_count),
        torch.zeros(frames, model.expression_count),
        rotation,
        place,
        90 + t,
    )


def test_with_our_face_model_the_network_gives_the_rotation_and_landmarks_the_rest():
    model = load_face_model()
    angle, truth = known_pose(model)
    points = reconstruct(truth, model, model.landmark_vertex)
    # identities of another face model mean nothing here
    noise = torch.randn(4, 80, generator=torch.Generator().manual_seed(0))
    start = starting_coefficients(NetworkCoefficients(noise, noise[:, :64], angle), points, model)
    torch.testing.assert_close(start.rotation, truth.rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(start.translation, truth.translation, atol=0.1, rtol=0)
    torch.testing.assert_close(start.scale, truth.scale, atol=0.1, rtol=0)
    assert float(start.expression.abs().max()) < 0.05
    with pytest.raises(ShapeError, match="angles"):
        starting_coefficients(NetworkCoefficients(noise, noise[:, :64], angle[:2]), points, model)
    with pytest.raises(ShapeError, match="angle of the network"):
        starting_coefficients(NetworkCoefficients(noise, noise[:, :64], angle * float("nan")), points, model)


def test_with_the_networks_face_model_everything_but_size_and_place_is_the_networks():
    from personatalk_core.geometry.face_model import Region
    from personatalk_core.geometry.other_face_models import IBUG_68, adopt_face_model

    own = load_face_model()
    random = np.random.default_rng(0)
    identity, expression = random.normal(size=(80, 468, 3)) * 0.01, random.normal(size=(64, 468, 3)) * 0.01
    triangles = own.triangles[own.region == Region.FACE].numpy()
    model = adopt_face_model(
        own.mean[:468].numpy(), identity, expression, triangles, {k: k for k in IBUG_68}, own
    )
    angle, truth = known_pose(model)
    alpha, beta = (torch.from_numpy(random.normal(size=(4, count))).float() for count in (80, 64))
    found = NetworkCoefficients(alpha, beta, angle)
    expected = Coefficients(
        found.identity.mean(0),
        torch.cat([found.expression] * 2, 1),
        truth.rotation,
        truth.translation,
        truth.scale,
    )
    start = starting_coefficients(found, reconstruct(expected, model, model.landmark_vertex), model)
    for name in ("identity", "expression", "rotation", "translation", "scale"):
        torch.testing.assert_close(getattr(start, name), getattr(expected, name), atol=2e-3, rtol=1e-4)
