"""Errors that tell a caller what was wrong, what was expected and what to do.

Every error a user can cause derives from :class:`PersonaTalkError`; the command line prints its
sentence and exits with code 2, a node shows it as it is. Anything else that escapes is a bug.
"""

from __future__ import annotations


class PersonaTalkError(Exception):
    """Base of every error caused by input, options or environment rather than by a bug."""


class ShapeError(PersonaTalkError, ValueError):
    """An array has another shape, dtype or range than its contract states."""


class OptionsError(PersonaTalkError, ValueError):
    """Two options contradict each other or one is outside its range."""


class MediaError(PersonaTalkError):
    """A video or audio file cannot be read, has no usable stream, or cannot be written."""


class CacheLockedError(MediaError):
    """Another run holds the working folder at this moment."""


class FaceError(PersonaTalkError):
    """No usable face: none in the whole clip, too small, or the chosen one does not exist."""


class FaceModelMismatchError(PersonaTalkError):
    """Geometry or style was made with another face model than the one in use."""


class WeightsError(PersonaTalkError):
    """Weights are missing, corrupted, of another kind, or of another shape than the code expects."""


class DependencyError(PersonaTalkError):
    """A library or system package that a stage needs is missing."""


class BatchError(PersonaTalkError):
    """Jobs of a batch failed; the others are done."""


class MemoryLimitError(PersonaTalkError):
    """Not even the smallest window fits into memory."""
