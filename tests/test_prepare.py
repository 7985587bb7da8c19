"""Films become a corpus: in time, as seen, with reasons for what is left out; and models are fine-tuned on it."""

import dataclasses
import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import whisper
import yaml
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead.animators.mesh import MeshAnimator
from talkinghead.audio import Sound
from talkinghead.blendshapes import BROWS, EXPRESSIONS, EYES, INDEX, MOUTH
from talkinghead.cli import app
from talkinghead.errors import InputError, OutputExists, TalkingHeadError
from talkinghead.face.geometry import stream_landmarks
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.motion.articulation import lip_gap
from talkinghead.motion.phones import PHONE_INDEX
from talkinghead.training import prepare
from talkinghead.training.batches import UNKNOWN, read_corpus, read_manifest
from talkinghead.training.prepare import (
    Film,
    Tracks,
    at_tokens,
    clips_of,
    cut_at_pauses,
    describe,
    find_films,
    prepare_corpus,
    prepare_film,
)
from talkinghead.training.train import TrainConfig, train_motion
from talkinghead.types import Array, Frame, Motion, Speech
from talkinghead.video import open_video, write_video

from .shared import SHARED, needs_shared
from .test_training import SMALL, speaking, write_corpus

CONFIGS = Path(__file__).parents[1] / "configs"
RATE = 16_000
SECONDS = 2.4


def opening(seconds: np.ndarray) -> np.ndarray:
    """How far the jaw of the drawn film is open at times in seconds: never twice the same."""
    return np.clip(0.2 * np.sin(9 * seconds) + 0.15 * np.sin(23 * seconds + 1), 0, None).astype(np.float32)


def drawn(fps: float) -> list[Frame]:
    """Frames of a face that opens its mouth, nods and blinks; frame t shows the moment (t + 0.5) / fps."""
    portrait = MediaPipeTracker()(astronaut()[:256, 96:352].copy())
    frames = round(SECONDS * fps)
    motion = Motion.still(frames, fps)
    seconds = (np.arange(frames) + 0.5) / fps
    motion.expression[:, INDEX["jawOpen"]] = opening(seconds)
    motion.expression[:, INDEX["eyeBlinkLeft"]] = motion.expression[:, INDEX["eyeBlinkRight"]] = np.sin(seconds) > 0.9
    motion.rotation[:, 0] = 0.08 * np.sin(4 * seconds)
    return list(MeshAnimator()(portrait, motion, stream_landmarks(portrait, motion)))


def save(path: Path, frames: list[Frame], fps: int = 25, sound: float | None = SECONDS, loudness: float = 0.2) -> Path:
    """A film of `frames` with `sound` seconds of noise."""
    height, width = frames[0].shape[:2]
    noise = np.random.default_rng(0).uniform(-loudness, loudness, round((sound or 0) * RATE)).astype(np.float32)
    voice = None if sound is None else Sound.of_array(noise, RATE)
    return write_video(path, frames, size=(width, height), fps=Fraction(fps), count=len(frames), sound=voice)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return drawn(25)


@pytest.fixture(scope="module")
def film(frames: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("film") / "anna.mp4", frames)


@pytest.fixture(scope="module")
def corpus(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    prepare_corpus(film, folder, licence="hers, with consent", validation=0)
    return folder


@pytest.fixture(scope="module")
def tracked(film: Path) -> list[Array | None]:
    return list(prepare.faces(open_video(film)))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


# what a film becomes


def test_a_film_becomes_a_corpus_that_training_reads(film: Path, corpus: Path) -> None:
    (clip,) = read_corpus(corpus, "train")

    assert clip.voice == "anna"
    assert len(clip) == round(SECONDS * 50)
    assert clip.mel.shape == (2 * len(clip), 80)
    assert clip.expression.dtype == clip.pose.dtype == clip.mel.dtype == np.float16
    assert clip.expression.shape == (len(clip), EXPRESSIONS)
    assert (clip.phones == UNKNOWN).all()
    assert (clip.style == 1).all()
    assert read_manifest(corpus)["voices"]["anna"]["licence"] == "hers, with consent"
    samples = Speech.of(film).samples[: 320 * len(clip)]
    assert np.allclose(clip.mel, whisper.log_mel_spectrogram(torch.from_numpy(samples)).numpy().T, atol=1e-3)


def test_mouth_head_and_brows_move_and_eyes_do_not(corpus: Path) -> None:
    (clip,) = read_corpus(corpus, "train")

    assert not clip.expression[:, list(EYES)].any()
    assert clip.expression[:, list(MOUTH)].max() > 0.1
    assert clip.expression[:, list(BROWS)].any()
    assert 0 <= clip.expression.min() <= clip.expression.max() <= 1
    assert 0.03 < clip.pose[:, 0].std() < 0.08  # radians; 0.08 times a sine is 0.057
    assert abs(np.median(clip.pose[:, 0].astype(np.float64))) < 0.02


@pytest.mark.parametrize("fps", [25, 30])
def test_the_prepared_mouth_moves_when_the_filmed_one_does(fps: int, film: Path, tmp_path: Path) -> None:
    path = film if fps == 25 else save(tmp_path / "other.mp4", drawn(fps), fps)
    (clip,), left_out = clips_of(Film("film", path, "film", 0))

    gap = lip_gap(clip.expression)[5:-5]
    lags = range(-5, 6)  # tokens of 20 ms
    agreement = [correlation(gap, opening((np.arange(len(gap)) + 5.5 - lag) / 50)) for lag in lags]

    assert not left_out
    assert max(agreement) > 0.95
    assert abs(lags[int(np.argmax(agreement))]) <= 1  # MediaPipe follows fast lips a little late


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(60)])
def test_tokens_show_the_moment_in_their_middle(fps: Fraction) -> None:
    seconds = (np.arange(90) + 0.5) / float(fps)
    track = np.stack([seconds, np.sin(7 * seconds)], axis=1)

    first, tokens = at_tokens(track, fps)
    later, same = at_tokens(track[30:], fps, 30)

    moments = (first + np.arange(len(tokens)) + 0.5) / 50
    inner = slice(8, -8)
    assert first == 0
    assert len(tokens) == math.floor(90 / fps * 50)
    assert np.abs(tokens[inner, 0] - moments[inner]).max() < 1e-4
    assert np.abs(tokens[inner, 1] - np.sin(7 * moments)[inner]).max() < 0.02
    assert later == math.ceil(30 / fps * 50)
    assert np.allclose(same[8:], tokens[later + 8 :], atol=1e-3)


def test_pairs_of_tokens_are_the_frames_of_a_film_with_25_a_second() -> None:
    track = np.random.default_rng(0).random((40, 3))

    _, tokens = at_tokens(track, Fraction(25))

    assert np.allclose(tokens.reshape(40, 2, 3).mean(axis=1), track)


def test_long_speech_is_cut_where_it_is_quiet() -> None:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, 50 * RATE).astype(np.float32)
    for pause in (13.0, 30.5):
        samples[int(pause * RATE) : int((pause + 0.4) * RATE)] *= 0.01

    clips = cut_at_pauses(samples)

    assert [first for first, _ in clips[1:]] == [last for _, last in clips[:-1]]
    assert (clips[0][0], clips[-1][1]) == (0, 2500)
    assert all(50 <= last - first <= 1000 for first, last in clips)
    assert abs(clips[0][1] / 50 - 13.2) < 0.1
    assert abs(clips[1][1] / 50 - 30.7) < 0.1
    assert cut_at_pauses(samples[: 5 * RATE]) == [(0, 250)]


def test_phones_are_used_where_words_are_known(
    film: Path, tracked: list[Array | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "faces", lambda video: iter(tracked))

    def align(source: str) -> prepare.Aligner:
        return lambda samples, path, table: SimpleNamespace(source=source, segments=[(0.5, 1.0, "aa")])

    def fail(samples: Array, path: Path, table: object) -> None:
        raise TalkingHeadError("its words do not fit")

    some = Film("film", film, "film", 0)
    (known,), _ = clips_of(some, align("words"))
    (guessed,), _ = clips_of(some, align("recognised"))

    assert (known.phones[25:50] == PHONE_INDEX["aa"]).all()
    assert (known.phones[60:] == PHONE_INDEX["sil"]).all()
    assert (guessed.phones == UNKNOWN).all()
    with pytest.warns(UserWarning, match="its words do not fit"):
        (failed,), _ = clips_of(some, fail)
    assert (failed.phones == UNKNOWN).all()


def test_clips_to_judge_by_are_spread_over_films_and_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = Tracks(*(np.zeros((2, 1), np.float16) for _ in Tracks._fields))
    monkeypatch.setattr(prepare, "clips_of", lambda film, align: ([tracks] * clips, []))

    def judged(number: int) -> int:
        film = Film(f"{number}.mp4", tmp_path / f"{number}.mp4", "voice", number)
        shards = prepare_film(film, tmp_path, 0.1, None).shards
        return sum(shard["clips"] for shard in shards if shard["split"] == "validation")

    clips = 1
    assert [judged(number) for number in range(20)] == [0] * 9 + [1] + [0] * 9 + [1]
    clips = 30
    assert [judged(number) for number in range(5)] == [3] * 5


# what is left out


@pytest.mark.filterwarnings("ignore::talkinghead.LowQualityFaceWarning")
def test_what_cannot_be_used_is_told_and_the_other_films_go_on(film: Path, frames: list[Frame], tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "good.mp4").write_bytes(film.read_bytes())
    save(folder / "silent.mp4", frames[:30], sound=None)
    save(folder / "quiet.mp4", frames[:30], loudness=0.0)
    save(folder / "short.mp4", frames[:20], sound=0.8)
    save(folder / "few.mp4", frames[:20])
    save(folder / "slow.mp4", frames[:20], fps=10)
    save(folder / "still.mp4", frames[:1] * 40, sound=1.6)
    save(folder / "two.mp4", [np.concatenate([frame, frame], axis=1) for frame in frames[:30]])
    save(folder / "nobody.mp4", [np.full((64, 64, 3), 128, np.uint8)] * 40, sound=1.6)
    (folder / "text.mp4").write_text("not a film")
    (folder / "notes.txt").write_text("not looked at")
    (tmp_path / "empty").mkdir()

    prepare_corpus([folder, tmp_path / "missing.mp4", tmp_path / "empty"], tmp_path / "out", progress=False)

    told: dict[str, str] = {}
    for item in read_manifest(tmp_path / "out")["left_out"]:
        told[Path(item["film"]).stem] = f"{told.get(Path(item['film']).stem, '')}{item['reason']}; "
    words = {
        "silent": "no sound track",
        "quiet": "its sound is silent",
        "short": "its sound lasts 0.80 s",
        "few": "too short: at least 1 s are needed; there is only sound",
        "slow": "10 frames a second",
        "still": "the lips do not move",
        "two": "2 faces were found",
        "nobody": "no face is seen",
        "text": "cannot be read",
        "missing": "No such file",
        "empty": "holds no videos",
    }
    assert told.keys() == words.keys()
    assert {name: told[name] for name in words if words[name] not in told[name]} == {}
    assert [clip.voice for clip in read_corpus(tmp_path / "out", "train")] == ["films"]
    text = describe(tmp_path / "out")
    assert "1 of 11 films" in text
    assert "films/nobody.mp4: 1.60 s left out: no face is seen" in text
    assert "films/text.mp4: left out: " in text


def test_moments_without_a_face_or_a_picture_are_left_out(frames: list[Frame], tmp_path: Path) -> None:
    hidden = [np.full_like(frame, 128) if 26 <= number < 33 else frame for number, frame in enumerate(frames)]
    path = save(tmp_path / "hidden.mp4", hidden, sound=4.0)

    clips, left_out = clips_of(Film("hidden", path, "hidden", 0))

    (face, reason, start, end), (*_, only, until) = left_out
    assert (face, reason) == ("hidden", "no face is seen")
    assert 0.96 < start < 1.2  # MediaPipe may lose a face a frame late
    assert 1.3 < end < 1.5
    assert (left_out[1].reason, only, round(until, 1)) == ("there is only sound", SECONDS, 4.0)
    assert [len(clip.phones) for clip in clips] == [math.floor(start * 50), 120 - math.ceil(end * 50)]
    later = lip_gap(clips[1].expression)[3:-3]
    assert correlation(later, opening((np.arange(len(later)) + math.ceil(end * 50) + 3.5) / 50)) > 0.9


def test_a_damaged_film_is_used_as_far_as_it_can_be_read(
    film: Path, tracked: list[Array | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(video: object) -> Iterator[Array | None]:
        yield from tracked[:40]
        raise prepare.VideoUnreadable("film.mp4: is damaged: error")

    monkeypatch.setattr(prepare, "faces", damaged)
    (clip,), left_out = clips_of(Film("film", film, "film", 0))

    assert len(clip.phones) == 80
    assert left_out[0].reason == "film.mp4: is damaged: error"
    assert left_out[0].start == 1.6


def test_nothing_that_can_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("not a film")

    with pytest.raises(InputError, match=r"no film can be used: a\.mp4: "):
        prepare_corpus(tmp_path / "a.mp4", tmp_path / "out", progress=False)
    with pytest.raises(InputError, match="no film can be used: none was given"):
        prepare_corpus([], tmp_path / "none", progress=False)


@pytest.mark.parametrize("wrong", [{"validation": -0.1}, {"validation": 1.0}, {"workers": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float], film: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be"):
        prepare_corpus(film, tmp_path / "out", **wrong)  # type: ignore[arg-type]


# folders, and going on


def test_films_are_found_once_and_named_apart(tmp_path: Path) -> None:
    for name in ("a/films/one.mp4", "a/films/two.MOV", "a/films/.hidden.mp4", "b/films/one.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    films, left_out = find_films([tmp_path / "a/films", tmp_path / "a/films/one.mp4", tmp_path / "b/films"])
    single, _ = find_films([tmp_path / "b/films/one.mp4"])

    names = [film.name for film in films]
    assert not left_out
    assert len(set(names)) == len(names) == 3
    assert "films/two.MOV" in names
    assert {film.voice for film in films} == {"films"}
    assert (single[0].name, single[0].voice) == ("one.mp4", "one")


def test_a_finished_film_is_not_done_again_and_others_may_be_added(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.mp4", tmp_path / "two.mp4"
    for path in (one, two):
        path.write_bytes(film.read_bytes())
    done: list[str] = []

    def count(film: Film, *rest: object) -> tuple[list[Tracks], list[prepare.LeftOut]]:
        done.append(film.name)
        return clips_of(film)

    monkeypatch.setattr(prepare, "clips_of", count)
    prepare_corpus(one, tmp_path / "out", progress=False)
    first = (tmp_path / "out" / "manifest.json").read_text()
    prepare_corpus(one, tmp_path / "out", progress=False)
    assert (tmp_path / "out" / "manifest.json").read_text() == first
    prepare_corpus([one, two], tmp_path / "out", licence="CC BY 4.0", progress=False)
    one.write_bytes(film.read_bytes() + b"more")
    prepare_corpus(one, tmp_path / "out", licence="CC BY 4.0", progress=False)

    assert done == ["one.mp4", "two.mp4", "one.mp4"]
    manifest = read_manifest(tmp_path / "out")
    assert [shard["film"] for shard in manifest["shards"]] == ["one.mp4", "two.mp4"]
    assert {voice["licence"] for voice in manifest["voices"].values()} == {"CC BY 4.0"}
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".npz", ".npz"]


def test_films_of_one_name_do_not_take_each_other_s_place_in_a_corpus(tmp_path: Path) -> None:
    for name in ("anna/clip.mp4", "berta/clip.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (anna,), _ = find_films([tmp_path / "anna/clip.mp4"])
    both, _ = find_films([tmp_path / "anna/clip.mp4", tmp_path / "berta/clip.mp4"])
    berta = both[1]._replace(name="clip.mp4")
    known = [anna.described()]

    assert [film.name for film in prepare.as_known(both, known)] == ["clip.mp4", str(berta.path)]
    with pytest.raises(InputError, match=r"the corpus has another film called clip\.mp4"):
        prepare.as_known([berta], known)
    anna.path.rename(tmp_path / "moved.mp4")
    assert prepare.as_known([berta], known) == [berta]  # anna's film itself may have been moved there


def test_a_corpus_of_other_settings_is_not_added_to(corpus: Path, film: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputExists, match=r"other settings \(validation\)"):
        prepare_corpus(film, corpus, validation=0.2)
    spoken = write_corpus(tmp_path / "spoken", train=[speaking(60)])
    with pytest.raises(OutputExists, match="other settings"):
        prepare_corpus(film, spoken)


def test_any_number_of_processes_gives_the_same_corpus(film: Path, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "anna.mp4").write_bytes(film.read_bytes())
    (tmp_path / "berta.mp4").write_bytes(film.read_bytes())

    prepare_corpus(
        [tmp_path / "anna.mp4", tmp_path / "berta.mp4"], tmp_path / "out", validation=0, workers=2, progress=False
    )

    (alone,) = corpus.glob("*.npz")
    assert (tmp_path / "out" / alone.name).read_bytes() == alone.read_bytes()
    assert [clip.voice for clip in read_corpus(tmp_path / "out", "train")] == ["anna", "berta"]


# training on it


def test_fine_tuning_lowers_the_loss_on_a_prepared_corpus(corpus: Path, tmp_path: Path) -> None:
    drawn = write_corpus(tmp_path / "drawn", train=[speaking(120)])
    start = train_motion(SMALL, drawn, tmp_path / "start")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(as_plain(dataclasses.replace(SMALL, steps=60, batch=4))))
    command = ["train", "motion", str(tmp_path / "recipe.yaml"), "--corpus", str(corpus), "--init", str(start)]

    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "tuned")], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    losses = [float(row.split(",")[-1]) for row in (tmp_path / "tuned" / "loss.csv").read_text().splitlines()[1:]]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:2])
    assert "| anna | hers, with consent |" in (tmp_path / "tuned" / "MODEL_CARD.md").read_text()


def test_several_corpora_are_trained_on_together(corpus: Path, tmp_path: Path) -> None:
    drawn = write_corpus(tmp_path / "drawn", train=[speaking(120)])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(as_plain(dataclasses.replace(SMALL, steps=1))))
    command = ["train", "motion", str(tmp_path / "recipe.yaml"), "--corpus", str(corpus), "--corpus", str(drawn)]

    done = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "out")], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "| anna |" in card
    assert "| drawn |" in card


def as_plain(config: TrainConfig) -> dict[str, object]:
    """The settings as a recipe has them."""
    plain: dict[str, object] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def test_the_recipe_for_a_person_starts_from_the_dimensions_of_micro() -> None:
    micro, person = (TrainConfig.read(CONFIGS / f"faceformer_{name}.yaml") for name in ("micro", "person"))

    assert person.encoder == micro.encoder
    assert person.faceformer == micro.faceformer
    assert 1e-4 <= person.learning_rate <= 3e-4
    assert person.steps <= 1000


# real films


@needs_shared
def test_a_person_of_the_grid_corpus_is_prepared_as_tracked(tmp_path: Path) -> None:
    path = sorted((SHARED / "data" / "clips").glob("*.mpg"))[3]

    done = CliRunner().invoke(app, ["prepare", str(path), "-o", str(tmp_path / "out")], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    assert "1 of 1 films, 1 clips" in done.output
    (clip,) = read_corpus(tmp_path / "out", "train")
    landmarks = MediaPipeTracker().follow(open_video(path))
    apart = np.linalg.norm((landmarks[:, 13] - landmarks[:, 14])[:, :2], axis=1)
    pairs = lip_gap(clip.expression).reshape(-1, 2).mean(axis=1)
    assert correlation(pairs, apart[: len(pairs)]) > 0.99
    shut = apart < 0.02 * apart.max()
    assert np.abs(pairs[shut[: len(pairs)]]).max() < 0.1  # centimetres
