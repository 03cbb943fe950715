"""Track Face."""

from __future__ import annotations

import json

from comfy_api.latest import io

from .choices import check_face, option_input
from .sockets import CATEGORY, FaceBoxes, FaceLandmarks, Models, Track, TrackedVideo


class TrackFace(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonaTalkTrackFace",
            display_name="Track Face (PersonaTalk)",
            category=CATEGORY,
            description=(
                "Follows one face through the video. Frames where it cannot be used are marked and later "
                "pass through untouched."
            ),
            search_aliases=["face landmarks", "mediapipe", "face detection"],
            inputs=[
                Models.Input("models", tooltip="From Load Models."),
                io.Video.Input(
                    "video",
                    tooltip="A video of a talking person. It is streamed, never held in memory whole.",
                ),
                option_input("face"),
                FaceBoxes.Input(
                    "face_box",
                    optional=True,
                    extra_dict={
                        "forceInput": True
                    },  # a socket, not four numbers that would always choose something
                    tooltip=(
                        "From a face detector, such as ComfyUI's Detect Face Landmarks: the face in the "
                        "first box is followed, and the widget 'face' is ignored."
                    ),
                ),
            ],
            outputs=[
                Track.Output(display_name="track", tooltip="To Estimate Geometry."),
                io.String.Output(
                    display_name="report",
                    tooltip="What was found in each frame (ok, no_face, side, covered, cut, tiny), as JSON.",
                ),
                FaceLandmarks.Output(
                    display_name="face_landmarks",
                    tooltip=(
                        "The followed face for ComfyUI's own nodes, such as Draw Face Mask and Visualize "
                        "Face Landmarks."
                    ),
                ),
                FaceBoxes.Output(
                    display_name="boxes",
                    tooltip="A box around the face in each frame, for nodes that crop, mask or draw.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, face: str | None = None) -> bool | str:
        return check_face(face)

    @classmethod
    def execute(cls, models, video, face: str, face_box=None) -> io.NodeOutput:
        from ..personatalk_core.config import DubOptions
        from ..personatalk_core.dubbing.run import Run
        from ..personatalk_core.media.video_reader import probe
        from ..personatalk_core.pipeline import track as track_face
        from ..personatalk_core.tracking.exchange import face_in_box
        from ..personatalk_core.types import status_names
        from .face_sockets import face_sockets
        from .media_sockets import video_path
        from .progress_bar import NodeProgress

        info = probe(video_path(video))
        options = DubOptions(face=face if face_box is None else face_in_box(face_box)).verify()
        with NodeProgress(cls.hidden.unique_id, "tracking") as progress:
            track = track_face(info, Run(models.models, options, progress))
        names = status_names(track.status)
        report = {"frames": len(names), "usable": names.count("ok"), "status": names}
        return io.NodeOutput(
            TrackedVideo(info, track), json.dumps(report), *face_sockets(track, models.models.face_model)
        )
