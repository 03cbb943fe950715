"""Now ``personatalk study spoken-meshes``; this name forwards for one release."""

from .studies import forward

if __name__ == "__main__":
    forward("spoken-meshes")
