"""Now ``personatalk study speech-accuracy``; this name forwards for one release."""

from .studies import forward

if __name__ == "__main__":
    forward("speech-accuracy")
