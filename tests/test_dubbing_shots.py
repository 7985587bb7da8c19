"""A film that is cut, and one that shows several people: each shot is dubbed for itself, and only the chosen face."""

import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from talkinghead import Clip, Motion, NoFaceFound, Speech
from talkinghead.animators.mesh import MeshAnimator
from talkinghead.animators.mesh.redraw import Redrawer
from talkinghead.blendshapes import INDEX
from talkinghead.dub_report import measure_dub
from talkinghead.dubbing import SHOTS_READY, Pages, dubbed, watch
from talkinghead.face.footage import Footage, Take
from talkinghead.face.shots import shots
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.types import SAMPLE_RATE, Frame
from talkinghead.video import Video, open_video

from .shared import SHARED, needs_shared


@dataclass(frozen=True, eq=False)
class Glued(Video):
    """Pictures as a film."""

    pictures: list[Frame]

    @classmethod
    def of(cls, pictures: list[Frame]) -> "Glued":
        height, width = pictures[0].shape[:2]
        return cls(Path("glued.mp4"), (width, height), Fraction(25), len(pictures), pictures)

    def frames(self) -> Generator[Frame, None, None]:
        yield from self.pictures


def speaking(count: int) -> Motion:
    motion = Motion.still(count, 25)
    motion.expression[:, INDEX["jawOpen"]] = np.maximum(0.25 * np.sin(np.arange(count) / 2), 0)
    return motion


def dub(film: Video, motion: Motion, tracker: MediaPipeTracker | None = None) -> Clip:
    speech = Speech(np.zeros(len(motion) * SAMPLE_RATE // 25, np.float32))
    return dubbed(film, watch(tracker or MediaPipeTracker(), film), motion, speech, MeshAnimator().redrawer)


def still(count: int) -> list[Frame]:
    return [np.ascontiguousarray(np.roll(astronaut()[:280, 80:370], n % 2, axis=1)) for n in range(count)]


def elsewhere(pictures: list[Frame]) -> list[Frame]:
    """Another shot: another place and another light."""
    return [np.roll(picture // 4 * 3, (12, -9), (0, 1)) for picture in pictures]


def test_a_film_is_split_at_cuts_and_every_frame_is_read_once() -> None:
    one, other = still(5), elsewhere(still(4))
    film = Glued.of(one + other + one)

    read = [list(shot.frames()) for shot in shots(film)]
    peeked = []
    for shot in shots(film):
        peeked.append(next(shot.frames()))
        assert next(shot.frames()) is peeked[-1]

    assert [len(pictures) for pictures in read] == [5, 4, 5]
    assert all(a is b for a, b in zip(chain(*read), film.pictures, strict=True))
    assert [picture is film.pictures[n] for picture, n in zip(peeked, (0, 5, 9), strict=True)] == [True] * 3
    assert list(shots(Glued(film.path, film.size, film.fps, 0, []))) == []


def test_a_camera_that_moves_fast_makes_no_cut() -> None:
    wide = np.tile(astronaut(), (1, 2, 1))
    pan = Glued.of([np.ascontiguousarray(wide[:, int(s) : int(s) + 300]) for s in np.cumsum([0, 2, 6, 15, 30, 40, 40])])

    assert [shot.length() for shot in shots(pan)] == [7]


def test_after_a_cut_all_is_as_if_the_film_began_there() -> None:
    first, second, motion = still(8), elsewhere(still(8)), speaking(16)
    alone = Glued.of(second)

    found = list(dub(Glued.of(first + second), motion))

    for picture, wanted in zip(found[8:], dub(alone, motion[8:]), strict=True):
        np.testing.assert_array_equal(picture, wanted)


def test_however_many_shots_a_film_has_only_some_are_kept_ready() -> None:
    one = still(2)
    followed = watch(MediaPipeTracker(), Glued.of(one))
    many = 3 * SHOTS_READY
    long = Glued.of(one * many)
    shots_of_two = replace(
        followed, shots=followed.shots * many, starts=tuple(range(0, 2 * many, 2)), seen=np.ones(2 * many, bool)
    )
    made = 0
    alive = weakref.WeakSet[Redrawer]()

    def redraw(shot: Footage, clearest: Frame) -> Callable[[Take], Frame]:
        nonlocal made
        redrawer = Redrawer.of(shot, clearest)
        made += 1
        alive.add(redrawer)
        assert len(alive) <= SHOTS_READY + 1
        return redrawer.draw

    speech = Speech(np.zeros(2 * many * SAMPLE_RATE // 25, np.float32))
    clip = dubbed(long, shots_of_two, speaking(2 * many), speech, redraw)

    assert sum(1 for _ in clip) == 2 * many
    assert made == many


def test_pages_are_turned_forwards_and_from_the_beginning_again() -> None:
    film = Glued.of(still(2) + elsewhere(still(3)))

    with Pages(film) as pages:
        assert all(pages[n] is film.pictures[n] for n in (0, 3, 4, 1, 1, 2, 0))
        with pytest.raises(IndexError, match="5 frames"):
            pages[5]


def test_shots_may_be_of_one_frame() -> None:
    film = Glued.of([picture for pair in zip(still(2), elsewhere(still(2)), strict=True) for picture in pair])

    frames = list(dub(film, speaking(4)))

    assert len(list(shots(film))) == len(frames) == 4
    assert all((picture != before).any() for picture, before in zip(frames, film.pictures, strict=True))


def test_a_shot_without_the_face_that_was_asked_for_passes_as_it_is() -> None:
    pair = [np.hstack([a, b]) for a, b in zip(still(6), elsewhere(still(6)), strict=True)]
    lone = [np.hstack([a, np.full_like(a, 90)]) for a in still(6)]
    second = MediaPipeTracker(face=1)

    with pytest.warns(match="no face in 6 of 12 frames, which stay as they are: 6 to 11"):
        clip = dub(Glued.of(pair + lone), speaking(12), second)

    assert clip.untouched == tuple(range(6, 12))
    for picture, wanted in zip(list(clip)[6:], lone, strict=True):
        np.testing.assert_array_equal(picture, wanted)
    with pytest.raises(NoFaceFound, match="face 1 was asked for, but 1 found"):
        watch(second, Glued.of(lone))


def test_of_two_people_only_the_chosen_one_changes() -> None:
    film = Glued.of([np.hstack([a, b]) for a, b in zip(still(6), elsewhere(still(6)), strict=True)])

    for face in (0, 1):
        for picture, before in zip(dub(film, speaking(6), MediaPipeTracker(face=face)), film.pictures, strict=True):
            changed = (picture != before).any(2)
            chosen, other = (changed[:, :290], changed[:, 290:])[:: 1 - 2 * face]
            assert chosen.any()
            assert not other.any()


@needs_shared
def test_real_people_in_turn_and_side_by_side() -> None:
    one, other = (list(open_video(SHARED / "data" / "clips" / f"grid_{n}.mpg").frames()) for n in ("lbax4n", "swiz3n"))
    motion = speaking(60)
    turns, pair = (
        Glued.of(one[:30] + other[20:50]),
        Glued.of([np.hstack(both) for both in zip(one, other, strict=True)]),
    )
    right = MediaPipeTracker(face=1)

    cut, chosen = dub(turns, motion), dub(pair, motion, right)

    for film, clip, tracker in ((turns, cut, MediaPipeTracker()), (pair, chosen, right)):
        found = measure_dub(film, clip, tracker)
        assert found.frames == 60
        assert found.lips is not None
        assert found.lips >= 0.9
        assert found.upper <= 1
        assert found.changed == 0
    for picture, wanted in zip(list(cut)[30:], dub(Glued.of(other[20:50]), motion[30:]), strict=True):
        np.testing.assert_array_equal(picture, wanted)
    for picture, before in zip(chosen, pair.pictures[:60], strict=True):
        np.testing.assert_array_equal(picture[:, :360], before[:, :360])
