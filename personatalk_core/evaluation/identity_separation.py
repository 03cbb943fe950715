"""Now ``personatalk study identity-separation``; this name forwards for one release."""

from .studies import forward

if __name__ == "__main__":
    forward("identity-separation")
