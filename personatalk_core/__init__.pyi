"""Names of the public face for type checkers; at run time ``__init__.py`` imports them when they are used."""

from .config import DubOptions as DubOptions
from .dubbing.progress import Progress as Progress
from .dubbing.progress import ProgressBars as ProgressBars
from .dubbing.run import OutputFiles as OutputFiles
from .dubbing.run import Run as Run
from .dubbing.write_dub import write_dub as write_dub
from .errors import BatchError as BatchError
from .errors import DependencyError as DependencyError
from .errors import FaceError as FaceError
from .errors import FaceModelMismatchError as FaceModelMismatchError
from .errors import MediaError as MediaError
from .errors import MemoryLimitError as MemoryLimitError
from .errors import OptionsError as OptionsError
from .errors import PersonaTalkError as PersonaTalkError
from .errors import ShapeError as ShapeError
from .errors import WeightsError as WeightsError
from .geometry.geometry_file import load_geometry as load_geometry
from .geometry.geometry_file import save_geometry as save_geometry
from .media.video_reader import probe as probe
from .models import Models as Models
from .models import load_models as load_models
from .pipeline import animate as animate
from .pipeline import dub as dub
from .pipeline import estimate_geometry as estimate_geometry
from .pipeline import extract_style as extract_style
from .pipeline import fit as fit
from .pipeline import render as render
from .pipeline import track as track
from .speech.style import mix_styles as mix_styles
from .speech.style_file import load_style as load_style
from .speech.style_file import save_style as save_style
from .types import AudioClip as AudioClip
from .types import DubReport as DubReport
from .types import FaceGeometry as FaceGeometry
from .types import FaceTrack as FaceTrack
from .types import FrameStatus as FrameStatus
from .types import ReferenceSelection as ReferenceSelection
from .types import StyleEmbedding as StyleEmbedding
from .types import VideoInfo as VideoInfo

__version__: str
