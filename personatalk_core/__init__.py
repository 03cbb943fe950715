"""PersonaTalk: dub a talking person's video with new speech and keep the persona (Zhang et al., SIGGRAPH Asia
2024)."""

__version__ = "0.1.0"
