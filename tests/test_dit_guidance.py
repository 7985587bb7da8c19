"""Identity guidance of the video transformer: it raises its own score, and nothing happens without it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from talkinghead import Motion, Portrait
from talkinghead.animators.dit import SkyReelsAnimator
from talkinghead.animators.dit.conditioning import encode_reference
from talkinghead.animators.dit.draw import detected_box, draw_driving_face, draw_reference, face_box
from talkinghead.animators.dit.guidance import IdentityGuidance, landmark_appearance, latent_crop
from talkinghead.animators.dit.sampling import Sampling
from talkinghead.animators.dit.windows import Driving, stream_pictures
from talkinghead.face.geometry import move_face
from talkinghead.face.tracker import MediaPipeTracker

from .dit_tiny import write_checkpoint

STRENGTHS = (0.0, 1.0, 2.0, 4.0)


@pytest.fixture(scope="module")
def animator(tmp_path_factory: pytest.TempPathFactory) -> SkyReelsAnimator:
    return SkyReelsAnimator.from_pretrained(
        write_checkpoint(tmp_path_factory.mktemp("tiny")), sampling=Sampling(steps=4)
    )


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


@pytest.fixture(scope="module")
def scene(animator: SkyReelsAnimator, portrait: Portrait) -> tuple[Any, Any, Any]:
    """A reference, 16 driving frames, and where the reference's landmarks are."""
    motion = Motion.still(16)
    motion.rotation[:, 1] = np.linspace(0, 0.2, 16)
    framing = animator.frame(portrait)
    points = framing.points(portrait.landmarks)
    box = face_box(detected_box(points), framing.canvas)
    picture = framing.fit(portrait.image)
    reference = encode_reference(
        animator.networks, picture, portrait.image, draw_reference(box.inside(points), box, framing.canvas)
    )
    rows = [framing.points(row) for row in move_face(portrait, motion)]
    driving = [Driving(draw_driving_face(row, box, framing.canvas), row) for row in rows]
    return reference, driving, (picture, points)


def scores(
    animator: SkyReelsAnimator, scene: Any, embedder: Any = None, strengths: tuple[float, ...] = STRENGTHS
) -> list[float]:
    reference, driving, (picture, points) = scene
    found = []
    for strength in strengths:
        guidance = IdentityGuidance(animator.networks, picture, points, strength, embedder)
        made = stream_pictures(
            animator.networks, reference, driving, 16, animator.sampling, steering=guidance if strength else None
        )
        found.append(guidance.score(np.stack(list(made)), np.stack([row.points for row in driving])))
    return found


def test_stronger_guidance_makes_the_face_more_like_the_reference(animator: SkyReelsAnimator, scene: Any) -> None:
    found = scores(animator, scene)

    assert all(np.diff(found) > 0), found
    assert found[-1] > found[0] + 0.05, found


def test_a_face_embedder_of_ones_own_is_what_guides(animator: SkyReelsAnimator, scene: Any) -> None:
    seen = []

    def mean_colours(faces: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        seen.append((faces.shape[1], tuple(points.shape[1:])))
        return torch.nn.functional.adaptive_avg_pool2d(faces, 4).flatten(1) - 0.5

    found = scores(animator, scene, mean_colours, (0.0, 2.0))

    assert all(np.diff(found) > 0), found
    assert set(seen) == {(3, (478, 2))}


def test_guidance_moves_the_face_and_leaves_the_rest_of_a_prediction(animator: SkyReelsAnimator, scene: Any) -> None:
    _, driving, (picture, points) = scene
    rows = np.stack([row.points for row in driving])
    velocity, latents = torch.randn(1, 5, 16, 8, 12), torch.randn(1, 5, 16, 8, 12)

    for alpha in (0.0, 0.5):
        steered = IdentityGuidance(animator.networks, picture, points, 1.0)(rows)(velocity, latents, alpha)

        changed = (steered - velocity).abs()
        face = torch.zeros_like(changed, dtype=torch.bool)
        face[(..., *latent_crop(rows, animator.networks))] = True
        assert float(changed[face].max()) > 1e-3
        assert float(changed[~face].max()) < 1e-5


def test_the_score_of_the_reference_itself_is_one(animator: SkyReelsAnimator, scene: Any) -> None:
    _, _, (picture, points) = scene
    guidance = IdentityGuidance(animator.networks, picture, points, 1.0)

    score = guidance.score(picture[None].astype(np.float32) / 255, points[None])

    assert score == pytest.approx(1, abs=1e-4)


def test_appearance_does_not_depend_on_the_light() -> None:
    faces, points = torch.rand(2, 3, 40, 40), torch.rand(2, 478, 2) * 40

    plain, lit = landmark_appearance(faces, points), landmark_appearance(faces * 0.5 + 0.2, points)

    assert float(torch.nn.functional.cosine_similarity(plain, lit).min()) > 0.9999


def test_guidance_is_off_by_default_and_reachable_from_the_animator(
    animator: SkyReelsAnimator, portrait: Portrait
) -> None:
    motion = Motion.still(2, 12.0)
    landmarks = move_face(portrait, motion)

    plain, guided = (
        np.stack(list(one(portrait, motion, landmarks))) for one in (animator, replace(animator, identity_guidance=2.0))
    )

    assert animator.identity_guidance == 0
    assert np.abs(plain.astype(int) - guided).max() > 5


def test_guidance_needs_a_network_that_predicts_velocities(animator: SkyReelsAnimator, scene: Any) -> None:
    _, _, (picture, points) = scene
    other = SimpleNamespace(config=SimpleNamespace(prediction_type="epsilon"))

    with pytest.raises(ValueError, match="velocities"):
        IdentityGuidance(replace(animator.networks, scheduler=other), picture, points, 1.0)
