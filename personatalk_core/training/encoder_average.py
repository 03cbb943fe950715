"""The old name of ``personatalk study encoder-average``."""

from ..evaluation.studies import forward

if __name__ == "__main__":
    forward("encoder-average")
