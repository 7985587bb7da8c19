"""Finds faces with MediaPipe, whose wheel carries its models: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np

from ..errors import FaceTooSmall, FaceTurnedAway, LowQualityFaceWarning, NoFaceFound, SeveralFacesFound, warn
from ..types import Array, Frame, Motion, Portrait
from ..video import Video
from .fit import Fit, fit_motion
from .geometry import FLIP, Head, rotation_angles
from .landmarks import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

MOST_FACES = 10
SMALLEST = 24  # pixels between the eyes' centres: below it lips are a few pixels high
SMALL = 40
COARSE = 64  # below it the mesh's first look at a picture is off by up to a fifth of it (seen)
TURNED, TURNED_AWAY = 45, 75  # degrees of yaw: one eye is seen badly; the mesh is guessed


@dataclass(frozen=True)
class MediaPipeTracker:
    """Finds the face in a picture, or follows one through a video.

    face:       which one when there are several: "largest", its number from left to right (0 is the leftmost),
                a box (left, top, right, bottom) in pixels around it, or "all": `everyone` finds these, and where
                only one can be used it is the largest
    on_several: "largest" takes the largest and warns, "error" raises SeveralFacesFound; used when face="largest"
    confidence: what the face detector must reach, 0 to 1
    """

    face: Literal["largest", "all"] | int | Box = "largest"
    on_several: Literal["largest", "error"] = "largest"
    confidence: float = 0.5

    def __post_init__(self) -> None:
        whole = isinstance(self.face, int) and not isinstance(self.face, bool)
        if not (whole or self.face in ("largest", "all") or is_box(self.face)):
            wanted = '"largest", a number from left to right, a box (left, top, right, bottom), or "all"'
            raise ValueError(f"face must be {wanted}, not {self.face!r:.60}")
        if self.on_several not in ("largest", "error"):
            raise ValueError(f'on_several must be "largest" or "error", not {self.on_several!r:.60}')
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be 0 to 1, not {self.confidence!r}")

    def __call__(self, image: Frame) -> Portrait:
        """The portrait in `image` [H, W, 3] uint8 RGB.

        Raises NoFaceFound, SeveralFacesFound, FaceTooSmall, FaceTurnedAway; warns LowQualityFaceWarning.
        """
        faces = self.find(image)
        if not faces:
            raise NoFaceFound(
                f"no face was found in this image of {image.shape[1]} x {image.shape[0]} pixels",
                "give a photo with the face seen from the front, or pass landmarks of your own in a Portrait",
            )
        landmarks = self.choose(faces)
        check_quality(landmarks)
        return Portrait(image, landmarks)

    def everyone(self, image: Frame) -> list[Portrait]:
        """All faces in `image` [H, W, 3], from left to right, however small. Raises NoFaceFound."""
        faces = self.find(image)
        if not faces:
            raise NoFaceFound(
                f"no face was found in this image of {image.shape[1]} x {image.shape[0]} pixels",
                "give a photo with faces seen from the front",
            )
        return [Portrait(image, landmarks) for landmarks in faces]

    def find(self, image: Frame) -> list[Array]:
        """Landmarks [478, 3] of every face, from left to right. Small ones are looked for if no large one is seen."""
        with face_mesh(self.confidence, MOST_FACES) as mesh:
            faces = mesh_landmarks(mesh, image)
        if not faces:
            faces = find_small_faces(image, self.confidence)
        else:
            faces = [self.closer(image, landmarks) for landmarks in faces]
        return sorted(faces, key=lambda landmarks: float(landmarks[:, 0].mean()))

    def closer(self, image: Frame, landmarks: Array) -> Array:
        """`landmarks` [478, 3] found in `image`, seen again enlarged if they are too close together to be exact."""
        if eye_distance(landmarks) >= COARSE:
            return landmarks
        low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
        closer = look_closer(image, (low + high) / 2, float((high - low).max()), self.confidence)
        return closer[0] if closer else landmarks

    def choose(self, faces: list[Array]) -> Array:
        """The face that was asked for."""
        if isinstance(self.face, int):
            if not 0 <= self.face < len(faces):
                found = f"face {self.face} was asked for, but {len(faces)} found"
                raise NoFaceFound(found, "faces count from 0, left to right")
            return faces[self.face]
        if self.face == "all":
            return max(faces, key=eye_distance)
        if self.face != "largest":
            left, top, right, bottom = self.face
            inside = [f for f in faces if left <= f[:, 0].mean() <= right and top <= f[:, 1].mean() <= bottom]
            if not inside:
                found = f"no face was found in the box {self.face}"
                raise NoFaceFound(found, "a box is left, top, right, bottom in pixels")
            return max(inside, key=eye_distance)
        if len(faces) > 1:
            message = f"{len(faces)} faces were found"
            hint = "choose one: face=0 is the leftmost; or give a box around it"
            if self.on_several == "error":
                raise SeveralFacesFound(message, hint)
            warn(LowQualityFaceWarning, f"{message}; the largest is used ({hint})")
        return max(faces, key=eye_distance)

    def track(self, video: Video) -> Motion:
        """The motion of the face in `video`, at its frame rate.

        Frames without a face take the landmarks between their neighbours, with a LowQualityFaceWarning.
        Raises NoFaceFound if fewer than half of the frames show one, VideoUnreadable.
        """
        return self.fit(video).motion

    def fit(self, video: Video) -> Fit:
        """The face model fitted to the face in `video`: its motion and what it was found from."""
        return fit_motion(self.follow(video), float(video.fps))

    def follow(self, video: Video) -> Array:
        """Landmarks [T, 478, 3] of the face in each frame of `video`."""
        rows = list(self.sight(video))
        seen = np.flatnonzero([row is not None for row in rows])
        if 2 * len(seen) < max(1, len(rows)):
            raise NoFaceFound(
                f"{video.path.name}: a face was found in {len(seen)} of {len(rows)} frames",
                "give a video that shows one face",
            )
        if len(seen) < len(rows):
            missing = len(rows) - len(seen)
            message = f"{video.path.name}: no face in {missing} of {len(rows)} frames; they are filled in"
            warn(LowQualityFaceWarning, message)
        known = np.stack([row for row in rows if row is not None])
        return between(known, seen, len(rows))

    def sight(self, video: Video) -> Iterator[Array | None]:
        """Landmarks [478, 3] of the face in each frame of `video`, as it is read; None where no face is seen."""
        previous: Array | None = None
        # Asked for one face, MediaPipe takes the surest and not the largest: it is asked for one only where one is.
        first = next(iter(video.frames()), None)
        several = first is not None and len(self.find(first)) > 1
        with face_mesh(self.confidence, MOST_FACES if several else 1, video=True) as mesh:
            for frame in video.frames():
                faces = mesh_landmarks(mesh, frame) or find_small_faces(frame, self.confidence)
                previous = self.same(faces, previous) if faces else previous
                yield previous if faces else None

    def same(self, faces: list[Array], previous: Array | None) -> Array:
        """The face that was followed so far, or the one asked for at the start."""
        if previous is None:
            return self.choose(sorted(faces, key=lambda landmarks: float(landmarks[:, 0].mean())))
        centre = previous.mean(0)
        return min(faces, key=lambda landmarks: float(np.linalg.norm(landmarks.mean(0) - centre)))


def is_box(face: object) -> bool:
    """Whether `face` is left, top, right, bottom with left < right and top < bottom."""
    if not (isinstance(face, tuple | list) and len(face) == 4 and all(isinstance(side, Real) for side in face)):
        return False
    left, top, right, bottom = map(float, face)
    return left < right and top < bottom


def between(known: Array, seen: np.ndarray[Any, Any], frames: int) -> Array:
    """Rows [K, 478, 3] known at the frames `seen`, linearly filled in to `frames` rows."""
    if len(seen) == frames:
        return known
    right = np.clip(np.searchsorted(seen, np.arange(frames)), 0, len(seen) - 1)
    left = np.clip(right - 1, 0, None)
    span = np.maximum(seen[right] - seen[left], 1)
    part = np.clip((np.arange(frames) - seen[left]) / span, 0, 1)[:, None, None]
    filled: Array = (known[left] * (1 - part) + known[right] * part).astype(np.float32)
    return filled


@contextmanager
def face_mesh(confidence: float, faces: int, video: bool = False) -> Iterator[Any]:
    """MediaPipe's face mesh with irises. It holds state and is not thread-safe, so each use makes its own."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    with FaceMesh(
        static_image_mode=not video, max_num_faces=faces, refine_landmarks=True, min_detection_confidence=confidence
    ) as mesh:
        yield mesh


def mesh_landmarks(mesh: Any, image: Frame) -> list[Array]:
    """Landmarks [478, 3] in pixels of each face that `mesh` sees in `image`."""
    height, width = image.shape[:2]
    found = mesh.process(np.ascontiguousarray(image)).multi_face_landmarks or []
    scale = np.array([width, height, width], np.float32)
    return [np.array([[p.x, p.y, p.z] for p in face.landmark], np.float32) * scale for face in found]


def find_small_faces(image: Frame, confidence: float) -> list[Array]:
    """Faces too small for the mesh's own detector: found by the full-range one, cut out and enlarged."""
    from mediapipe.python.solutions.face_detection import FaceDetection

    height, width = image.shape[:2]
    with FaceDetection(model_selection=1, min_detection_confidence=confidence) as detector:
        detections = detector.process(np.ascontiguousarray(image)).detections or []
    faces = []
    for detection in detections[:MOST_FACES]:
        box = detection.location_data.relative_bounding_box
        centre = np.array([(box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height])
        faces += look_closer(image, centre, max(box.width * width, box.height * height), confidence)
    return faces


def look_closer(image: Frame, centre: Array, reach: float, confidence: float) -> list[Array]:
    """The face, if any, in the square of `image` that extends `reach` pixels from `centre` [2], seen enlarged."""
    import cv2

    left, top = np.maximum(np.floor(centre - reach), 0).astype(int)
    right, bottom = np.ceil(centre + reach).astype(int)
    crop = image[top:bottom, left:right]
    if min(crop.shape[:2]) < 8:
        return []
    zoom = max(1.0, 512 / max(crop.shape[:2]))
    large = cv2.resize(crop, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    shift = np.array([left, top, 0], np.float32)
    ratio = np.array([crop.shape[1] / large.shape[1], crop.shape[0] / large.shape[0], 1 / zoom], np.float32)
    with face_mesh(confidence, 1) as mesh:
        return [landmarks * ratio + shift for landmarks in mesh_landmarks(mesh, large)]


def eye_distance(landmarks: Array) -> float:
    """Pixels between the centres of the eyes, in space: it does not shrink when the head turns."""
    right, left = (landmarks[list(pair)].mean(0) for pair in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    return float(np.linalg.norm(right - left))


def check_quality(landmarks: Array) -> None:
    """Refuse a face that cannot be animated; warn of one that will not look good."""
    distance = eye_distance(landmarks)
    if distance < SMALLEST:
        raise FaceTooSmall(
            f"the face is too small: its eyes are {distance:.0f} pixels apart, at least {SMALLEST} are needed",
            "give a larger picture, or cut the face out of a sharper one",
        )
    turn = Head.of(landmarks).rotation * FLIP[:, None] * FLIP
    yaw = float(np.degrees(abs(rotation_angles(turn)[1])))
    if yaw > TURNED_AWAY:
        raise FaceTurnedAway(f"the face is turned away by {yaw:.0f}°, at most {TURNED_AWAY}° can be animated")
    if yaw > TURNED:
        message = f"the face is turned by {yaw:.0f}°: its far side will look poor"
        warn(LowQualityFaceWarning, message)
    if distance < SMALL:
        message = f"the face is small: its eyes are {distance:.0f} pixels apart"
        warn(LowQualityFaceWarning, message)
