"""The mesh's own constants: strips close rings, linear extensions are linear."""

import numpy as np

from personatalk_core.geometry import topology


def test_a_strip_closes_a_ring_with_two_triangles_fewer_than_vertices():
    for ring in (topology.INNER_LIPS, topology.RIGHT_EYE, topology.LEFT_EYE):
        faces = topology.strip(ring)
        assert faces.shape == (len(ring) - 2, 3)
        edges = {frozenset((ring[k - 1], ring[k])) for k in range(len(ring))}
        times = {}
        for face in faces.tolist():
            for a, b in ((0, 1), (1, 2), (2, 0)):
                pair = frozenset((face[a], face[b]))
                times[pair] = times.get(pair, 0) + 1
        assert {pair for pair, count in times.items() if count == 1} == edges


def test_the_tessellation_has_852_triangles_that_use_every_vertex():
    faces = topology.face_triangles()
    assert faces.shape == (852, 3)
    assert np.array_equal(np.unique(faces), np.arange(468))


def test_cavity_and_skirt_are_linear_in_the_face():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 468, 3))
    for follows in (True, False):
        together = topology.extended(2 * a - b, follows=follows)
        np.testing.assert_allclose(
            together,
            2 * topology.extended(a, follows=follows) - topology.extended(b, follows=follows),
            atol=1e-12,
        )
        assert together.shape == (topology.VERTEX_COUNT, 3)


def test_skirt_rings_lie_outside_the_oval():
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    face = np.zeros((468, 3))
    face[list(topology.FACE_OVAL), :2] = np.stack([np.cos(angle), np.sin(angle)], 1)
    whole = topology.extended(face, follows=False)
    radius = np.linalg.norm(whole[topology.SKIRT_START :], axis=1).reshape(topology.SKIRT_RINGS, 36)
    np.testing.assert_allclose(radius, 1 + np.array(topology.SKIRT_GROWTH)[:, None] * np.ones((1, 36)))
