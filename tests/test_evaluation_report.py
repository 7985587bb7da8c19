"""`talkinghead evaluate`: bad files among good ones, what is missing, what is printed and what is written."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from talkinghead.cli import app
from talkinghead.errors import InputError, OutputExists, OutputNotWritable, TalkingHeadError
from talkinghead.evaluation.dynamics import endurance
from talkinghead.evaluation.judge import Results, Settings, judge
from talkinghead.evaluation.report import check_new_report, figures, markdown, write_report
from talkinghead.evaluation.synthetic import synthetic_scores
from talkinghead.face.model import face_model
from talkinghead.pipeline import TalkingHead
from talkinghead.types import Array, Speech
from talkinghead.video import Video, write_video

from .shared import SHARED, needs_shared

HELLO = Path(__file__).parents[1] / "examples" / "hello.flac"
PHONES = [[0.0, 0.4, "SIL"], *([0.4 + 0.1 * k, 0.5 + 0.1 * k, phone] for k, phone in enumerate(
    ["P", "AA1", "T", "UW", "M", "IY", "N", "F", "B", "S", "V", "W", "K", "AO", "T", "SH", "F", "EH", "N", "IH"]
))]  # fmt: skip


class Speaker:
    """Follows a face that nods and opens its mouth, whatever the video shows."""

    def follow(self, video: Video) -> Array:
        frames = sum(1 for _ in video.frames())
        face = face_model().neutral * np.array([3, -3, -3], np.float32) + np.array([50, 60, 0], np.float32)
        faces = np.repeat(face[None], frames, axis=0)
        faces[:, [14, 152], 1] += 1.5 * np.abs(np.sin(np.arange(frames) / 3))[:, None].astype(np.float32)
        faces[:, :, 0] += np.sin(np.arange(frames) / 9)[:, None].astype(np.float32)
        return faces


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good sound, a good video, and five files that cannot be used, or not for everything."""
    folder = tmp_path_factory.mktemp("mixed")
    speech = Speech.of(HELLO)
    samples = speech.samples[: 16_000 * 3]
    soundfile.write(folder / "good.wav", samples, 16_000)
    (folder / "good.phones.json").write_text(json.dumps(PHONES))
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "unaligned.wav", samples, 16_000)
    (folder / "unaligned.phones.json").write_text("[]")
    (folder / "broken.wav").write_text("not a sound")
    (folder / "broken.mp4").write_bytes(b"\0" * 100)
    black = np.zeros((100, 100, 3), np.uint8)
    for name, sound in (("film", speech.sound), ("mute", None)):
        write_video(folder / f"{name}.mp4", [black] * 40, size=(100, 100), fps=25, count=40, sound=sound)
    (folder / "film.phones.json").write_text(json.dumps(PHONES))
    return folder


@pytest.fixture(scope="module")
def results(folder: Path, head: TalkingHead) -> Results:
    settings = Settings(seeds=0, noise=10.0)
    with pytest.warns(UserWarning, match="silent"):
        return judge([folder, folder / "missing.wav"], head, Speaker(), settings)


def test_bad_files_are_named_with_their_reasons_and_the_others_judged(results: Results) -> None:
    reasons = {(item.name.removesuffix(".wav").split("/")[-1], item.part): item.reason for item in results.left_out}

    assert {each.name for each in results.recordings} == {"good", "film", "unaligned"}
    assert reasons["silent", "all"] == "its sound is silent"
    assert "broken.mp4" in reasons["broken.mp4", "all"]
    assert "broken.wav" in reasons["broken", "all"]
    assert "missing.wav" in reasons["missing", "all"]
    assert "sound" in reasons["mute", "all"]
    assert "phones" in reasons["unaligned", "phones"]
    assert [each.name for each in results.agreements] == ["film"]
    assert {each.name for each in results.voiced} == {"film", "good"}
    text = markdown(results)
    for name, _ in reasons:
        assert name in text


def test_a_face_that_is_not_there_leaves_the_sound(folder: Path, head: TalkingHead) -> None:
    from talkinghead.face.tracker import MediaPipeTracker

    results = judge([folder / "film.mp4"], head, MediaPipeTracker(), Settings(seeds=0))

    assert not results.agreements
    assert len(results.voiced) == 1
    ((name, part, reason),) = results.left_out
    assert (name, part) == ("film", "filmed lips")
    assert "face" in reason


def test_nothing_to_evaluate_is_an_error(folder: Path, head: TalkingHead) -> None:
    (folder / "missing.phones.json").write_text("[]")

    with pytest.raises(InputError, match=r"nothing to evaluate: missing: missing\.wav"):
        judge([folder / "missing.wav"], head, Speaker(), Settings())


def test_the_report_is_for_people_and_for_programs(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    out = write_report(results, tmp_path / "new" / "report")

    text = (out / "report.md").read_text("utf-8")
    stored: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(figures(results)))
    assert {"lips", "lags", "amount", "contrasts", "closed", "targets", "pauses", "left_out"} <= set(stored["tables"])
    assert [row["sound"] for row in stored["tables"]["contrasts"]][::3] == [
        "clean", "white noise, 10 dB", "babble noise, 10 dB",
    ]  # fmt: skip
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert {"contrasts.png", "lags.png", "phones.png"} <= set(pictures)
    assert sum(name.startswith("clip-") for name in pictures) == 3
    for name in pictures:
        assert f"({name})" in text
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputExists):
        write_report(results, out)
    assert check_new_report(out, force=True) == out


def test_a_report_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(OutputNotWritable):
            check_new_report(path)


@pytest.mark.parametrize("package", ["pocketsphinx", "matplotlib"])
def test_what_is_not_installed_is_told_before_the_work(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    done = CliRunner().invoke(app, ["evaluate", str(HELLO), "-o", str(tmp_path / "out")])

    assert isinstance(done.exception, TalkingHeadError)
    assert package in str(done.exception)
    assert "talkinghead[evaluation]" in done.exception.hint


def test_the_command_prints_tables_and_writes_a_report(folder: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(folder / "good.wav"), "--seeds", "1", "-o", str(tmp_path / "out"), "--device", "cpu"]

    done = CliRunner().invoke(app, arguments, catch_exceptions=False)

    assert done.exit_code == 0
    assert "| closed: p b m" in done.stdout
    assert "| blinks a minute |" in done.stdout
    assert done.stdout.strip() in (tmp_path / "out" / "report.md").read_text("utf-8")


def test_a_long_run_is_compared_with_its_beginning(head: TalkingHead) -> None:
    found = endurance(head, [Speech.of(HELLO).samples], 2)

    assert found.first["gap mean, cm"] == pytest.approx(found.last["gap mean, cm"], rel=0.05)
    assert 0.3 < found.growth < 3
    assert found.times_real_time > 1


def corpus(folder: Path, head: TalkingHead) -> Path:
    """A corpus whose targets are what the model makes of its mels, as far as one window of them tells."""
    import whisper

    samples = Speech.of(HELLO).samples[: 5 * 16_000]
    mel = whisper.log_mel_spectrogram(samples).numpy().T  # [500, 80]
    shards = []
    for voice, split in (("one", "validation"), ("two", "held_out"), ("three", "train")):
        motion = head.motion_generator(head.audio_encoder(Speech(samples)))
        expression = np.repeat(motion.expression, 2, axis=0)
        clips = 2
        np.savez(
            folder / f"{voice}.npz",
            mel=np.tile(mel, (clips, 1)).astype(np.float16),
            expression=np.tile(expression, (clips, 1)).astype(np.float16),
            pose=np.zeros((clips * 250, 6), np.float16),
            phones=np.zeros(clips * 250, np.uint8),
            style=np.ones((clips * 250, 2), np.float16),
            lengths=np.full(clips, 250, np.int32),
        )
        shards.append({"file": f"{voice}.npz", "voice": voice, "split": split, "seconds": 10.0})
    (folder / "manifest.json").write_text(json.dumps({"shards": shards, "settings": {}, "voices": {}}))
    return folder


def test_a_model_agrees_with_a_corpus_of_its_own_motion(head: TalkingHead, tmp_path: Path) -> None:
    scores = synthetic_scores("micro", corpus(tmp_path, head))

    assert [(score.voice, score.split, score.clips) for score in scores] == [
        ("one", "validation", 2), ("two", "held_out", 2),
    ]  # fmt: skip
    for score in scores:
        assert score.ours["gap"].value > 0.9 > score.loudness["gap"].value
        assert score.speed.value == pytest.approx(1, abs=0.15)


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a speech corpus"):
        synthetic_scores("micro", tmp_path)


@needs_shared
def test_real_clips_are_judged_whole(head: TalkingHead) -> None:
    pytest.importorskip("pocketsphinx")
    from talkinghead.face.tracker import MediaPipeTracker

    clips = [SHARED / "data" / "clips" / f"grid_{name}.mpg" for name in ("sbia1a", "lbax4n")]

    results = judge(clips, head, MediaPipeTracker(), Settings(seeds=0))

    assert not results.left_out
    assert [results.alignments[each.name].source for each in results.agreements] == ["words", "words"]
    (row,) = [row for row in figures(results)["tables"]["lips"] if row["measure"] == "width"]
    assert row["ours r"][0] > row["loudness r"][0]
    assert row["right − wrong sound"][0] > 0
