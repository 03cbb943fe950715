"""The old name of ``personatalk study speech-ablations``."""

from ..evaluation.studies import forward

if __name__ == "__main__":
    forward("speech-ablations")
