"""Does a photo suit? What was found in it, in plain words, and what its face looks like when it moves."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .animators.mesh.glasses import Glasses
from .blendshapes import INDEX
from .errors import LowQualityFaceWarning, OutputNotWritable
from .face.geometry import FLIP, Head, lips_parted, rotation_angles
from .face.landmarks import FACE_OVAL, INNER_LIPS, LEFT_EYE, LEFT_LIDS, OUTER_LIPS, RIGHT_EYE, RIGHT_LIDS
from .face.model import face_model
from .face.tracker import SMALL, TURNED, MediaPipeTracker, eye_distance
from .files import check_new_file, new_file
from .image import ImageSource, load_image
from .motion.gaze import add_gaze
from .motion.spoken import motion_of_phones, read_phones
from .pipeline import TalkingHead
from .types import SAMPLE_RATE, Array, Frame, Motion, Portrait, Speech

CELL = 288  # pixels, a side of each picture of the sheet
LABEL = 26  # pixels of text below it
COLUMNS = 5
VIEW = 1.6  # face heights: what a picture shows around the face

SIDEWAYS = 15  # degrees of yaw from which the far side of a face is missed when it turns back
NODDED = 15  # degrees of pitch
SHUT = 0.12  # of the eye's width: lids closer than that are shut

VISEMES = {"/a/": "AA1", "/i/": "IY1", "/u/": "UW1", "/f/": "F", "/m/": "M"}
POSES = {
    "yaw -12° (right)": (0, -12),
    "yaw +12° (left)": (0, 12),
    "pitch -8° (up)": (-8, 0),
    "pitch +8° (down)": (8, 0),
}


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found in a photo.

    portrait:       the face that was asked for
    faces:          how many faces there are
    eye_distance:   pixels between the eyes' centres
    yaw, pitch, roll: degrees: the nose to the picture's left, down, and leaning clockwise are positive
    mouth_open:     0 closed to 1 parted
    eyes_open:      height of the eyes as a share of their width
    glasses:        whether dark frames were found
    cut:            sides of the picture that cut the face off
    chosen:         whether this face was asked for, by its number or a box, and not taken as the largest
    """

    portrait: Portrait
    faces: int
    eye_distance: float
    yaw: float
    pitch: float
    roll: float
    mouth_open: float
    eyes_open: float
    glasses: bool
    cut: tuple[str, ...]
    chosen: bool = False

    @property
    def notes(self) -> list[str]:
        """What is found, in plain words."""
        height, width = self.portrait.image.shape[:2]
        turn = f"turned {abs(self.yaw):.0f}° to the picture's {'left' if self.yaw > 0 else 'right'}"
        nod = f"{abs(self.pitch):.0f}° {'down' if self.pitch > 0 else 'up'}"
        return [
            f"picture {width} x {height} pixels, {self.faces} face{'s' if self.faces > 1 else ''}",
            f"eyes {self.eye_distance:.0f} pixels apart",
            f"{turn}, {nod}, leaning {abs(self.roll):.0f}°",
            "mouth closed" if self.mouth_open == 0 else "mouth open" if self.mouth_open == 1 else "mouth hardly open",
            "glasses with dark frames" if self.glasses else "no glasses with dark frames",
        ]

    @property
    def warnings(self) -> list[str]:
        """What may look poor, and what to do about it; empty for a photo that suits."""
        found = {
            f"{self.faces} faces: choose one with --face": self.faces > 1 and not self.chosen,
            f"small face: under {SMALL} pixels between the eyes it looks soft; give a larger picture": (
                self.eye_distance < SMALL
            ),
            f"turned by more than {SIDEWAYS}°: it turns less, since its far side is not in the picture": (
                SIDEWAYS < abs(self.yaw) <= TURNED
            ),
            f"turned by more than {TURNED}°: its far side will look poor; give a photo from the front": (
                abs(self.yaw) > TURNED
            ),
            "looks up or down: nostrils or chin will look odd; give a photo at eye level": abs(self.pitch) > NODDED,
            "the mouth is open: its corners and teeth are guessed when it closes; lips together are best": (
                self.mouth_open == 1
            ),
            "the eyes are shut: they cannot be opened": self.eyes_open < SHUT,
            f"the face is cut off at the {' and '.join(self.cut)}: it moves less there": bool(self.cut),
        }
        return [text for text, true in found.items() if true]

    def report(self) -> dict[str, Any]:
        """The findings as plain values, for JSON."""
        numbers = ("eye_distance", "yaw", "pitch", "roll", "mouth_open", "eyes_open")
        plain = {name: round(float(getattr(self, name)), 2) for name in numbers}
        height, width = self.portrait.image.shape[:2]
        size = {"width": width, "height": height, "faces": self.faces, "glasses": self.glasses, "cut": list(self.cut)}
        return {**size, **plain, "suits": not self.warnings, "warnings": self.warnings}


def inspect_image(source: ImageSource, tracker: MediaPipeTracker) -> Findings:
    """Look for the face in a photo, and at what matters when it is to speak.

    Raises the errors of images, NoFaceFound, FaceTooSmall, FaceTurnedAway.
    """
    image = load_image(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LowQualityFaceWarning)  # the findings tell the same
        portrait = tracker(image)
    landmarks = portrait.landmarks
    pitch, yaw, roll = np.degrees(rotation_angles(Head.of(landmarks).rotation * FLIP[:, None] * FLIP)).tolist()
    height, width = image.shape[:2]
    oval = landmarks[list(FACE_OVAL), :2]
    sides = {
        "left": oval[:, 0].min() < 0,
        "top": oval[:, 1].min() < 0,
        "right": oval[:, 0].max() >= width,
        "bottom": oval[:, 1].max() >= height,
    }
    return Findings(
        portrait=portrait,
        faces=len(tracker.find(image)),
        eye_distance=eye_distance(landmarks),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        mouth_open=lips_parted(landmarks),
        eyes_open=max(opening(landmarks, RIGHT_LIDS, RIGHT_EYE), opening(landmarks, LEFT_LIDS, LEFT_EYE)),
        glasses=Glasses.of(image, landmarks) is not None,
        cut=tuple(side for side, true in sides.items() if true),
        chosen=tracker.face not in ("largest", "all"),
    )


def opening(landmarks: Array, lids: tuple[int, int], eye: Sequence[int]) -> float:
    """The height of an eye as a share of its width."""
    high = float(np.linalg.norm(np.subtract(*landmarks[list(lids)])))
    return high / max(float(np.linalg.norm(np.subtract(*landmarks[[eye[0], eye[8]]]))), 1e-3)


def extremes() -> dict[str, Motion]:
    """What a face can do, by name: motions of one frame."""
    moved = visemes()
    for name, shapes in {
        "smile": {"mouthSmile": 0.7, "cheekSquint": 0.5, "eyeSquint": 0.15},
        "blink": {"eyeBlink": 1.0},
    }.items():
        moved[name] = Motion.still(1)
        for shape, weight in shapes.items():
            moved[name].expression[:, [INDEX[f"{shape}Left"], INDEX[f"{shape}Right"]]] = weight
    moved |= {"gaze left": add_gaze(Motion.still(1), (-20, 0)), "gaze right": add_gaze(Motion.still(1), (20, 0))}
    for name, angles in POSES.items():
        moved[name] = Motion.still(1)
        moved[name].rotation[0, :2] = np.radians(angles)
    return moved


def visemes() -> dict[str, Motion]:
    """The mouth in the middle of loud phones, by name."""
    times = np.arange(len(VISEMES) * SAMPLE_RATE) / SAMPLE_RATE
    hum = Speech((0.3 * np.sin(2 * np.pi * 150 * times)).astype(np.float32))
    phones = [(second + 0.3, second + 0.7, phone) for second, phone in enumerate(VISEMES.values())]
    spoken = motion_of_phones(read_phones(phones, hum.duration), hum)
    still = np.zeros((1, 3), np.float32)
    middles = {name: round((second + 0.5) * spoken.fps) for second, name in enumerate(VISEMES)}
    return {name: Motion(spoken.expression[[n]], still, still.copy(), spoken.fps) for name, n in middles.items()}


def draw_sheet(head: TalkingHead, findings: Findings) -> Frame:
    """A contact sheet [H, W, 3]: the face as it is, its landmarks, what it can do, and what was found."""
    portrait = findings.portrait
    cells = {"source": portrait.image, "landmarks": overlay(portrait)}
    for name, motion in extremes().items():
        cells[name] = next(iter(head.draw(portrait, motion)))
    box = view(portrait)
    return arranged({name: cut_out(image, box) for name, image in cells.items()}, findings)


def overlay(portrait: Portrait) -> Frame:
    """The picture with the face's mesh, and its outlines in colour."""
    import cv2

    image = portrait.image.copy()
    points = np.round(portrait.landmarks[:, :2] * 16).astype(np.int32)  # in sixteenths of a pixel
    wires = [points[triangle] for triangle in face_model().triangles]
    cv2.polylines(image, wires, True, (255, 255, 255), 1, cv2.LINE_AA, 4)
    mesh = cv2.addWeighted(image, 0.35, portrait.image, 0.65, 0)
    colours = ((OUTER_LIPS, (255, 80, 80)), (INNER_LIPS, (255, 200, 60)), (LEFT_EYE, (80, 220, 255)))
    for outline, colour in (*colours, (RIGHT_EYE, (80, 220, 255)), (FACE_OVAL, (120, 255, 120))):
        cv2.polylines(mesh, [points[list(outline)]], True, colour, 1, cv2.LINE_AA, 4)
    return np.asarray(mesh, np.uint8)


def view(portrait: Portrait) -> tuple[float, float, float]:
    """Left, top and side of the square around the face that the sheet shows."""
    oval = portrait.landmarks[list(FACE_OVAL), :2]
    side = VIEW * float(np.ptp(oval[:, 1]))
    x, y = (oval.min(0) + oval.max(0)) / 2
    return float(x) - side / 2, float(y) - 0.52 * side, side


def cut_out(image: Frame, box: tuple[float, float, float]) -> Frame:
    """A square of `image` as a cell of the sheet; what lies beyond the picture is grey."""
    from PIL import Image

    left, top, side = box
    corners = (round(left), round(top), round(left + side), round(top + side))
    canvas = Image.new("RGB", (corners[2] - corners[0], corners[3] - corners[1]), (60, 60, 60))
    canvas.paste(Image.fromarray(image), (-corners[0], -corners[1]))
    return np.asarray(canvas.resize((CELL, CELL), Image.Resampling.LANCZOS))


def arranged(cells: dict[str, Frame], findings: Findings) -> Frame:
    """The cells in rows, each above its name, and the findings below them all."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=16)
    lines = [(text, (225, 225, 225)) for text in findings.notes]
    lines += [(f"! {text}", (255, 180, 70)) for text in findings.warnings] or [("this photo suits", (130, 230, 130))]
    rows = -(-len(cells) // COLUMNS)
    size = (COLUMNS * CELL, rows * (CELL + LABEL) + LABEL * len(lines) + 16)
    sheet = Image.new("RGB", size, (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    for number, (name, cell) in enumerate(cells.items()):
        x, y = number % COLUMNS * CELL, number // COLUMNS * (CELL + LABEL)
        sheet.paste(Image.fromarray(cell), (x, y))
        draw.text((x + 8, y + CELL + 3), name, (225, 225, 225), font)
    for number, (text, colour) in enumerate(lines):
        draw.text((8, rows * (CELL + LABEL) + 8 + number * LABEL), text, colour, font)
    return np.asarray(sheet)


def check_new_sheet(path: str | os.PathLike[str], force: bool = False) -> Path:
    """Like `check_new_file`, and the name must end in .png."""
    if Path(path).suffix.lower() != ".png":
        raise OutputNotWritable(f"{path}: a contact sheet must be named .png", "give it the suffix .png")
    return check_new_file(path, force)


def save_sheet(sheet: Frame, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write `sheet` [H, W, 3] as a PNG. Raises OutputExists unless `force`, OutputNotWritable, DiskFull."""
    from PIL import Image

    check_new_sheet(path, force)
    with new_file(path, force=force) as part:
        Image.fromarray(sheet).save(part)
    return Path(path)
