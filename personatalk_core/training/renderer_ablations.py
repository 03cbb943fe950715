"""The old name of ``personatalk study renderer-ablations``."""

from ..evaluation.studies import forward

if __name__ == "__main__":
    forward("renderer-ablations")
