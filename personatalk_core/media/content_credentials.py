"""Content credentials (C2PA): a signed statement inside the file of what was done to it, with the user's own
certificate.

``c2pa-python`` (extra ``c2pa``) is imported here only, inside functions. Noticing that a file has credentials
needs no library: see provenance. Specification: https://spec.c2pa.org, version 2.
"""

from __future__ import annotations

import io
import json
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import DependencyError, MediaError, OptionsError
from .image_sequence import find_sequence, is_sequence
from .provenance import AI_EDITED, SENTENCE

TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime"}  # containers that both C2PA and VideoWriter know
# one grey pixel
_TRIAL = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
_SOURCE, _OTHER = "source", "input"  # names of ingredients inside the statement
MAX_PEM = 1 << 20  # bytes of a certificate chain or key
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")


@dataclass(frozen=True)
class Credentials:
    """What a file's own credentials say. state: ``Trusted``, ``Valid`` or ``Invalid`` as the library finds.
    issuer: of the signature.  actions: such as ``c2pa.edited``.  source_types: IPTC addresses in them.
    ingredients: titles.  problems: codes."""

    state: str
    issuer: str
    actions: tuple[str, ...]
    source_types: tuple[str, ...]
    ingredients: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class SigningChoice:
    """With what to sign. certificate: PEM chain, the signing certificate first.  key: its private key, PEM
    (PKCS 8), not encrypted. algorithm: one of ALGORITHMS.  timestamp: address of a time stamp authority,
    asked once a file; empty asks nobody."""

    certificate: Path | None = None
    key: Path | None = None
    algorithm: str = "es256"
    timestamp: str = ""

    def signer(self) -> ContentSigner | None:
        """A signer that has proved to work, or None where no certificate was chosen. Raises as
        :class:`ContentSigner`."""
        if self.certificate is None and self.key is None:
            return None
        if self.certificate is None or self.key is None:
            raise OptionsError(
                "signing needs a certificate and its key; pass --sign-certificate and --sign-key together."
            )
        return ContentSigner(self)


class ContentSigner:
    """Signs finished MP4 and QuickTime files.

    Raises:
        DependencyError: c2pa-python is not installed.
        OptionsError: a file that cannot be read, a certificate and key that do not fit each other or C2PA, a
            time stamp authority
            that does not answer: a small picture is signed at once, so that nothing comes out after an hour
        of dubbing.
    """

    def __init__(self, choice: SigningChoice) -> None:
        self._c2pa = _import_c2pa()
        if choice.algorithm not in ALGORITHMS:
            raise OptionsError(
                f"C2PA algorithm is '{choice.algorithm}' but expected one of {', '.join(ALGORITHMS)}."
            )
        self._info = (
            choice.algorithm,
            _pem(choice.certificate, "certificate"),
            _pem(choice.key, "key"),
            choice.timestamp or None,
        )
        try:
            self._write("trial", "image/png", _TRIAL, io.BytesIO(), {_SOURCE: ("trial", "image/png", _TRIAL)})
        except self._c2pa.C2paError as error:
            raise OptionsError(
                f"The C2PA certificate and key cannot sign with {choice.algorithm} ({_reason(error)}); "
                "pass a PEM chain with the signing certificate first and its unencrypted PKCS 8 key."
            ) from error

    def sign(self, path: Path, out: Path, *, source: Path, others: Sequence[Path] = ()) -> Credentials:
        """Write a signed copy of a finished file, and read it back.

        Args:
            path:   .mp4 or .mov.
            out:    appears when it is whole and its credentials were read back from it; may be ``path``
                itself.
            source: the file that was edited, of pictures the first one; its own credentials are taken along.
            others: further inputs, such as the speech and a style file.
        Returns:
            What was read back.
        Raises:
            MediaError: a file cannot be read or signed; nothing was written.
        """
        path, out = Path(path), Path(out)
        kind = signable_type(out)
        part = out.with_name(f".{out.stem}.signed{out.suffix}")
        first = find_sequence(source).files[0] if is_sequence(source) else Path(source)
        names = {_SOURCE: first, **{f"{_OTHER}{number}": Path(other) for number, other in enumerate(others)}}
        try:
            with ExitStack() as stack:
                ingredients = {
                    label: (p.name, _type_of(p), stack.enter_context(p.open("rb")))
                    for label, p in names.items()
                }
                unsigned, target = stack.enter_context(path.open("rb")), stack.enter_context(part.open("w+b"))
                self._write(out.name, kind, unsigned, target, ingredients)
            found = read_credentials(part)
            if found is None or found.state == "Invalid":
                raise MediaError(
                    f"The credentials written to {out} do not read back ({found}); dub without signing."
                )
            part.replace(out)
            return found
        except (self._c2pa.C2paError, OSError) as error:
            raise MediaError(
                f"{out} cannot be signed ({_reason(error)}); check the certificate, or dub without signing."
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def _write(self, title: str, kind: str, source, target, ingredients: dict) -> None:
        """ingredients: (title, type, stream or bytes) by label; the source's is first."""
        c2pa, (algorithm, chain, key, timestamp) = self._c2pa, self._info
        source = io.BytesIO(source) if isinstance(source, bytes) else source
        statement = json.dumps(_statement(title, kind, [label for label in ingredients if label != _SOURCE]))
        with _offline(c2pa) as context, c2pa.Builder(statement, context=context) as builder:
            for label, (name, form, stream) in ingredients.items():
                relation = "parentOf" if label == _SOURCE else "inputTo"
                entry = json.dumps(
                    {"title": name, "relationship": relation, "label": label, "instance_id": label}
                )
                builder.add_ingredient(
                    entry, form, io.BytesIO(stream) if isinstance(stream, bytes) else stream
                )
            with c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, key, timestamp)) as signer:
                builder.sign(signer, kind, source, target)


@contextmanager
def signed_output(
    out: Path, signer: ContentSigner | None, *, source: Path, others: Sequence[Path] = ()
) -> Iterator[Path]:
    """Where to write a file that is to appear as ``out``, signed where there is a signer.

    Yields: ``out`` itself without a signer; else a hidden name beside it, the same in every run, which is
        signed into ``out`` when the block ends without an exception and is gone afterwards.
    Raises:
        MediaError: ``out`` is of a kind that cannot be signed, or signing failed; nothing was written.
    """
    out = Path(out)
    if signer is None:
        yield out
        return
    signable_type(out)
    unsigned = out.with_name(f".{out.stem}.unsigned{out.suffix}")
    try:
        yield unsigned
        signer.sign(unsigned, out, source=source, others=others)
    finally:
        unsigned.unlink(missing_ok=True)


def signable_type(path: Path) -> str:
    """The media type of a file that can be signed. Raises MediaError for any other."""
    kind = TYPES.get(Path(path).suffix.lower())
    if kind is None:
        raise MediaError(
            f"{path} ends in '{Path(path).suffix}' but content credentials go into {' and '.join(TYPES)} "
            "files only."
        )
    return kind


def read_credentials(path: Path) -> Credentials | None:
    """Read and check a file's credentials with c2pa-python; None where it has none.

    Raises:
        DependencyError: c2pa-python is not installed. MediaError: the credentials make no sense.
    """
    c2pa = _import_c2pa()
    path = Path(path)
    try:
        with (
            _offline(c2pa) as context,
            path.open("rb") as stream,
            c2pa.Reader(_type_of(path), stream, context=context) as reader,
        ):
            cache, state = json.loads(reader.json()), reader.get_validation_state() or "Invalid"
    except (c2pa.C2paError, OSError, ValueError) as error:
        if "ManifestNotFound" in str(error) or "no JUMBF" in str(error):
            return None
        raise MediaError(f"The content credentials of {path} cannot be read ({_reason(error)}).") from error
    manifest = cache.get("manifests", {}).get(cache.get("active_manifest"), {})
    actions = [
        action
        for assertion in manifest.get("assertions", ())
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]
    return Credentials(
        state=str(state),
        issuer=str((manifest.get("signature_info") or {}).get("issuer", "")),
        actions=tuple(str(action.get("action", "")) for action in actions),
        source_types=tuple(
            str(action["digitalSourceType"]) for action in actions if "digitalSourceType" in action
        ),
        ingredients=tuple(str(item.get("title", "")) for item in manifest.get("ingredients", ())),
        problems=tuple(str(entry.get("code", "")) for entry in cache.get("validation_status", ())),
    )


def _statement(title: str, kind: str, others: Sequence[str]) -> dict:
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_SOURCE]}}
    edited = {
        "action": "c2pa.edited",
        "digitalSourceType": AI_EDITED,
        "softwareAgent": {"name": "PersonaTalk"},
        "description": SENTENCE,
        "parameters": {"ingredientIds": list(others)},
    }
    return {
        "claim_generator_info": [{"name": "PersonaTalk"}],
        "title": title,
        "format": kind,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [opened, edited]}}],
    }


def _offline(c2pa):
    """Settings under which nothing is looked up on the network."""
    return c2pa.Context(
        c2pa.Settings.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}})
    )


def _type_of(path: Path) -> str:
    suffix = path.suffix.lower()
    return TYPES.get(suffix, suffix.lstrip(".") or "application/octet-stream")


def _import_c2pa():
    try:
        import c2pa
    except ImportError as error:
        raise DependencyError(
            "Signing needs c2pa-python, which is not installed; run: pip install 'personatalk[c2pa]'."
        ) from error
    return c2pa


def _pem(path: Path | None, what: str) -> bytes:
    if path is None:
        raise OptionsError(f"Signing needs a C2PA {what}; pass a PEM file.")
    try:
        with Path(path).open("rb") as stream:
            text = stream.read(MAX_PEM + 1)
    except OSError as error:
        raise OptionsError(
            f"The C2PA {what} {path} cannot be read ({_reason(error)}); pass a PEM file."
        ) from error
    if len(text) > MAX_PEM or b"-----BEGIN" not in text:
        raise OptionsError(
            f"The C2PA {what} {path} is not a PEM file; expected text that begins with -----BEGIN."
        )
    return text


def _reason(error: Exception) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error)).split())[:200].rstrip(".")
