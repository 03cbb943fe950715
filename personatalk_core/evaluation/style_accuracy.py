"""Now ``personatalk study style-accuracy``; this name forwards for one release."""

from .studies import forward

if __name__ == "__main__":
    forward("style-accuracy")
