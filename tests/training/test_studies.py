"""The studies of the training are verbs, and their old names forward for one release."""

import argparse
import runpy

import pytest

from personatalk_core.evaluation import studies
from personatalk_core.training.renderer import ablations as renderer_ablations
from personatalk_core.training.speech import ablations, encoder_average, linear_judges, refinement

MODULES = {
    "encoder-average": encoder_average,
    "renderer-ablations": renderer_ablations,
    "speech-ablations": ablations,
    "speech-refinement": refinement,
    "speech-ridge": linear_judges,
}


@pytest.mark.parametrize("name", MODULES)
def test_the_old_name_forwards_to_the_study(name, monkeypatch):
    asked = []
    monkeypatch.setattr(studies, "forward", asked.append)
    runpy.run_module(f"personatalk_core.training.{name.replace('-', '_')}", run_name="__main__")
    assert asked == [name]
    module = MODULES[name]
    assert module.__name__ == f"personatalk_core.{studies.STUDIES[name][0]}" and callable(module.run)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert "--out" in parser.format_help()
