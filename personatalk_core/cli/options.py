"""Options that several verbs share, and what they state: the option table, weights, signing, face models.

Nothing heavy is imported before a verb runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import DubOptions, option_fields
from ..dubbing.progress import Progress
from ..errors import OptionsError

if TYPE_CHECKING:
    from ..media.content_credentials import SigningChoice
    from ..models import Models
    from ..weights.hub import HubSource

Verbs = argparse._SubParsersAction  # what a module's ``register`` adds its verbs to
Handler = Callable[[argparse.Namespace, Progress], "str | dict | None"]
OPTIONS = option_fields()


def add_verb(
    verbs: Verbs, name: str, summary: str, run: Handler, *, computes: bool = False
) -> argparse.ArgumentParser:
    """Add a verb with the options that all verbs take.

    Args:
        summary: one line, in lower case, for the list of verbs and the verb's own help.
        run: called with the parsed arguments and the progress; what it returns is printed.
        computes: whether the verb takes device, number format and seed.
    """
    verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    verb.set_defaults(run=run)
    verb.add_argument("--quiet", action="store_true", help="print nothing but errors")
    verb.add_argument(
        "--weights", type=Path, metavar="DIR", help="folder looked in before the Hub and the bundled weights"
    )
    verb.add_argument(
        "--hub", metavar="OWNER/NAME@COMMIT", help="Hub repository with weights, pinned to a full commit hash"
    )
    verb.add_argument(
        "--offline", action="store_true", help="do not ask the Hub; use what it left in the cache"
    )
    if computes:
        add_options(verb, "device", "dtype", "seed")
    return verb


def add_options(verb: argparse.ArgumentParser, *names: str, **changed: Any) -> None:
    """Add options of the option table by name; ``changed`` replaces arguments of argparse, such as the
    default."""
    for name in names:
        option = OPTIONS[name]
        flag = name.replace("_", "-")
        if option.kind is bool and option.default:
            verb.add_argument(f"--no-{flag}", dest=name, action="store_false", help=option.help)
        elif option.kind is bool:
            verb.add_argument(f"--{flag}", action="store_true", help=option.help)
        else:
            arguments = {
                "type": None if option.kind is str else option.kind,
                "choices": option.choices or None,
                "default": option.default,
                "metavar": option.metavar,
                "help": option.help or None,
            }
            verb.add_argument(f"--{flag}", **(arguments | changed))


def options_of(args: argparse.Namespace) -> DubOptions:
    """The verified DubOptions that the given arguments state; absent ones keep their defaults."""
    stated = {name: value for name, value in vars(args).items() if name in OPTIONS and value is not None}
    return DubOptions(**stated).verify()


def parse_hub(text: str | None) -> HubSource | None:
    """``OWNER/NAME@COMMIT`` as a HubSource, or None. Raises OptionsError for any other form."""
    if text is None:
        return None
    from ..weights.hub import HubSource

    repository, _, revision = text.partition("@")
    if repository.count("/") != 1 or not revision:
        raise OptionsError(
            f"hub is '{text}' but expected OWNER/NAME@COMMIT with the full 40-digit commit hash."
        )
    return HubSource(repository, revision)


def load_models(
    args: argparse.Namespace, options: DubOptions, parts: tuple[str, ...] = ("speech", "renderer")
) -> Models:
    """The networks from the weights that the arguments name."""
    from .. import models

    return models.load_models(
        options, folder=args.weights, hub=parse_hub(args.hub), offline=args.offline, parts=parts
    )


def add_signing(verb: argparse.ArgumentParser) -> None:
    """How the output is signed; :func:`signing_of` reads it."""
    verb.add_argument(
        "--sign-certificate",
        type=Path,
        metavar="PEM",
        help="sign the output (C2PA) with this certificate chain",
    )
    verb.add_argument(
        "--sign-key", type=Path, metavar="PEM", help="private key of the certificate, not encrypted"
    )
    verb.add_argument(
        "--sign-algorithm",
        default="es256",
        metavar="ALG",
        help="es256 (default), es384, es512, ps256 ... ed25519",
    )
    verb.add_argument(
        "--sign-timestamp", default="", metavar="URL", help="time stamp authority to ask; default: none"
    )


def signing_of(args: argparse.Namespace) -> SigningChoice:
    """What the options of :func:`add_signing` state."""
    from ..media.content_credentials import SigningChoice

    return SigningChoice(args.sign_certificate, args.sign_key, args.sign_algorithm, args.sign_timestamp)
