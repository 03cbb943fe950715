"""Signing with a certificate made on the spot, and what is read back from the file."""

from __future__ import annotations

import datetime
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from personatalk_core.errors import DependencyError, MediaError, OptionsError
from personatalk_core.media.content_credentials import (
    ContentSigner,
    SigningChoice,
    read_credentials,
    signed_output,
)
from personatalk_core.media.provenance import AI_EDITED, provenance_metadata, read_marks
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.types import Timeline

needs_c2pa = pytest.mark.skipif(
    find_spec("c2pa") is None or find_spec("cryptography") is None,
    reason="c2pa-python is not installed (extra 'c2pa')",
)


def write_certificate(folder: Path) -> SigningChoice:
    """A chain of two certificates, valid for a month, and the key of the first."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "leaf")}
    named = {
        name: x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        for name in keys
    }

    def issue(name: str, authority: bool):
        builder = (
            x509.CertificateBuilder()
            .subject_name(named[name])
            .issuer_name(named["root"])
            .public_key(keys[name].public_key())
        )
        builder = (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + 30 * day)
        )
        usage = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys["root"].public_key())
        builder = (
            builder.add_extension(x509.BasicConstraints(authority, None), True)
            .add_extension(usage, True)
            .add_extension(above, False)
        )
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(keys[name].public_key()), False
        )
        if not authority:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False
            )
        return builder.sign(keys["root"], hashes.SHA256())

    pem = serialization.Encoding.PEM
    (folder / "chain.pem").write_bytes(
        b"".join(issue(n, n == "root").public_bytes(pem) for n in ("leaf", "root"))
    )
    plain = serialization.NoEncryption()
    for name, key in keys.items():
        (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return SigningChoice(folder / "chain.pem", folder / "leaf.key")


@pytest.fixture
def choice(tmp_path):
    return write_certificate(tmp_path)


@pytest.fixture
def clip(tmp_path, numbered):
    def make(name: str) -> Path:
        timeline = Timeline(np.arange(3), np.arange(3) / 25, np.full(3, 0.04))
        with VideoWriter(tmp_path / name, 96, 64, timeline, metadata=provenance_metadata()) as writer:
            for number in range(3):
                writer.write(numbered(number))
        return tmp_path / name

    return make


@needs_c2pa
@pytest.mark.parametrize("name", ["dub.mp4", "dub.mov"])
def test_what_was_signed_reads_back_and_still_plays(choice, clip, tmp_path, read_number, name):
    path, source, speech = clip(name), clip("source.mp4"), tmp_path / "speech.wav"
    speech.write_bytes(b"RIFF" + bytes(40))
    choice.signer().sign(path, path, source=source, others=[speech])
    found = read_credentials(path)
    assert (found.state, found.issuer) == ("Valid", "Studio")
    assert found.actions == ("c2pa.opened", "c2pa.edited") and found.source_types == (AI_EDITED,)
    assert found.ingredients == ("source.mp4", "speech.wav")
    # nobody trusts a certificate made a second ago
    assert set(found.problems) <= {"signingCredential.untrusted"}
    marks = read_marks(path)
    assert marks.c2pa and marks.ai_edited
    assert [read_number(frame) for frame in VideoReader(path).frames()] == [0, 1, 2]
    assert any("C2PA" in remark for remark in probe(path).remarks)


@needs_c2pa
def test_a_changed_file_no_longer_agrees(choice, clip):
    path = clip("dub.mp4")
    choice.signer().sign(path, path, source=clip("source.mp4"))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"mdat") + 40] ^= 1
    path.write_bytes(data)
    found = read_credentials(path)
    assert found.state == "Invalid" and "assertion.bmffHash.mismatch" in found.problems


@needs_c2pa
def test_incoming_credentials_are_taken_along(choice, clip):
    source, path, signer = clip("source.mp4"), clip("dub.mp4"), choice.signer()
    signer.sign(source, source, source=clip("camera.mp4"))
    signer.sign(path, path, source=source)
    assert read_credentials(path).ingredients == ("source.mp4",)
    assert b"camera.mp4" in path.read_bytes()  # the source's own statement travels inside


@needs_c2pa
def test_of_pictures_the_first_one_is_named(choice, clip, tmp_path, numbered):
    import cv2

    (tmp_path / "in").mkdir()
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / "in" / f"f{number}.png"), numbered(number))
    path = clip("dub.mp4")
    choice.signer().sign(path, path, source=tmp_path / "in" / "f%d.png")
    assert read_credentials(path).ingredients == ("f1.png",)


@needs_c2pa
def test_a_file_without_credentials_has_none(clip):
    assert read_credentials(clip("plain.mp4")) is None


@needs_c2pa
def test_the_signed_file_appears_whole_or_not_at_all(choice, clip, tmp_path):
    signer, source = choice.signer(), clip("source.mp4")
    out = tmp_path / "out.mp4"
    with signed_output(out, signer, source=source) as target:
        clip(target.name)
        assert not out.exists() and target.parent == out.parent
    assert read_credentials(out).state == "Valid"
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(MediaError), signed_output(tmp_path / "two.mp4", signer, source=source) as target:
        target.write_bytes(b"no video")
    with (
        pytest.raises(KeyboardInterrupt),
        signed_output(tmp_path / "two.mp4", signer, source=source) as target,
    ):
        clip(target.name)
        raise KeyboardInterrupt
    with (
        pytest.raises(MediaError, match=r"\.mp4 and \.mov"),
        signed_output(tmp_path / "two.mkv", signer, source=source),
    ):
        pytest.fail("the work must not begin")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@needs_c2pa
def test_bad_certificates_are_refused_before_any_work(choice, tmp_path):
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "other.pem").write_bytes(b"not pem")
    bad = [
        SigningChoice(junk, choice.key),
        SigningChoice(choice.certificate, tmp_path / "root.key"),  # the key of another certificate
        SigningChoice(choice.certificate, choice.certificate),
        SigningChoice(tmp_path / "none.pem", choice.key),
        SigningChoice(tmp_path / "other.pem", choice.key),
        SigningChoice(choice.certificate, choice.key, algorithm="rsa"),
        SigningChoice(choice.certificate, choice.key, algorithm="ps256"),
    ]
    for one in bad:
        with pytest.raises(OptionsError):
            one.signer()


def test_no_certificate_signs_nothing_and_half_a_choice_is_refused(tmp_path):
    assert SigningChoice().signer() is None
    with signed_output(tmp_path / "o.mp4", None, source=tmp_path) as target:
        assert target == tmp_path / "o.mp4"
    with pytest.raises(OptionsError, match="together"):
        SigningChoice(certificate=tmp_path / "c.pem").signer()


def test_a_missing_library_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(DependencyError, match="pip install"):
        ContentSigner(SigningChoice(tmp_path / "c.pem", tmp_path / "k.pem"))


@needs_c2pa
def test_the_command_line_signs_what_it_dubs(choice, clip, tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    from personatalk_core import pipeline
    from personatalk_core.cli import dub as verb
    from personatalk_core.cli.parser import main
    from personatalk_core.types import DubReport

    source, speech = clip("source.mp4"), tmp_path / "speech.wav"
    speech.write_bytes(b"RIFF" + bytes(40))
    monkeypatch.setattr(verb, "load_models", lambda *_: SimpleNamespace(face_model=None, speech=None))
    monkeypatch.setattr(
        pipeline,
        "dub",
        lambda video, audio, files, *_, **__: clip(files.video.name) and DubReport(frames=3, dubbed=3),
    )
    signing = ["--sign-certificate", str(choice.certificate), "--sign-key", str(choice.key)]
    base = ["dub", "--video", str(source), "--audio", str(speech), "--device", "cpu"]
    out = tmp_path / "out.mp4"
    assert main([*base, "--out", str(out), *signing]) == 0
    found = read_credentials(out)
    assert found.state == "Valid" and found.ingredients == ("source.mp4", "speech.wav")
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    capsys.readouterr()
    for more, words in (
        ([*signing[:2]], "together"),
        ([*signing, "--sign-algorithm", "rsa"], "expected one of"),
    ):
        assert main([*base, "--out", str(tmp_path / "two.mp4"), *more]) == 2
        assert words in capsys.readouterr().err
    assert (
        main([*base, "--out", str(tmp_path / "two.mkv"), *signing]) == 2
        and ".mp4 and .mov" in capsys.readouterr().err
    )
    assert (
        main([*base, "--out", str(tmp_path / "p" / "%d.png"), *signing]) == 2
        and "pictures" in capsys.readouterr().err
    )
    assert not list(tmp_path.glob("two.*"))
