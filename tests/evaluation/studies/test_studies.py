"""``personatalk study NAME``: every study is found, says its options, and the old names still run."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from personatalk_core.cli import build_parser, main
from personatalk_core.evaluation.studies import STUDIES

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_options_and_a_run(name):
    module = import_module(f"personatalk_core.{STUDIES[name][0]}")
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert parser.format_help() and callable(module.run) and module.__doc__


def test_options_before_and_after_the_folder_belong_to_the_study():
    args = build_parser().parse_args(["study", "geometry-fit", "--no-table", "folder", "--tracks", "kept"])
    assert args.name == "geometry-fit" and args.arguments == ["--no-table", "folder", "--tracks", "kept"]


def test_the_names_are_listed_and_others_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in STUDIES)
    assert main(["study", "nothing"]) == 2
    assert "there is no study 'nothing'; expected one of closure-accuracy" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["study", "speech_accuracy", "--help"])  # underscores are as good
    assert "personatalk study speech-accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("old", ["identity_separation", "quality_check"])
def test_the_old_names_forward_with_one_line(old):
    done = subprocess.run(
        [sys.executable, "-m", f"personatalk_core.evaluation.{old}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "usage: personatalk study" in done.stdout
    assert done.stderr.count("\n") == 1 and "run 'personatalk study" in done.stderr
