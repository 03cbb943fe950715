"""The option table on the command line and in its documentation; weights and signing by options."""

from __future__ import annotations

import argparse
import dataclasses
from argparse import Namespace

import pytest
from option_table import README, option_table

from personatalk_core.cli.options import add_options, options_of, parse_hub
from personatalk_core.config import DubOptions, option_fields
from personatalk_core.errors import OptionsError

ALL = tuple(option_fields())


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    """Every option of the table."""
    parser = argparse.ArgumentParser()
    add_options(parser, *ALL)
    return parser


def test_the_documentation_shows_the_table():
    assert option_table() in README.read_text(encoding="utf-8"), (
        "if the change is meant, run: python tests/support/option_table.py"
    )


def test_nothing_given_are_the_defaults(parser):
    assert options_of(parser.parse_args([])) == DubOptions()


def test_every_option_is_read_in_its_kind(parser):
    words = (
        "--length bounce --face index:1 --style-strength 0.5 --lip-references 3 --face-references 2 "
        "--exclude-window 4 --device cpu --dtype bf16 --seed 7 --lossless --no-provenance --initializer n"
    )
    read = options_of(parser.parse_args(words.split()))
    expected = DubOptions("bounce", "index:1", 0.5, 3, 2, 4, "cpu", "bf16", 7, True, False, "n")
    assert read == expected
    assert all(type(a) is type(b) for a, b in zip(vars(read).values(), vars(expected).values(), strict=True))


def test_a_verb_may_have_a_default_of_its_own():
    parser = argparse.ArgumentParser()
    add_options(parser, "exclude_window", default=12)
    assert options_of(parser.parse_args([])).exclude_window == 12
    assert "(default 12)" in parser.format_help()


def test_other_arguments_are_no_options():
    given = Namespace(verb="dub", video="v.mp4", seed=3, device=None, run=None)
    assert options_of(given) == dataclasses.replace(DubOptions(), seed=3)


def test_stated_options_are_verified():
    with pytest.raises(OptionsError, match=r"style strength is 3\.0 but expected"):
        options_of(Namespace(style_strength=3.0))


def test_hub_is_repository_and_commit():
    assert parse_hub(None) is None
    commit = "0123456789abcdef" * 2 + "01234567"
    source = parse_hub(f"someone/weights@{commit}")
    assert (source.repo_id, source.revision) == ("someone/weights", commit)
    for text in ("someone/weights", "weights@" + commit, "a/b/c@" + commit, "a/b@"):
        with pytest.raises(OptionsError, match="but expected OWNER/NAME@COMMIT with the full 40-digit"):
            parse_hub(text)
