"""Now ``personatalk study long-clip``; this name forwards for one release."""

from .studies import forward

if __name__ == "__main__":
    forward("long-clip")
