"""The tokens of one forward pass shared between processes, as GPUs share them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .dit_tiny import write_checkpoint

ROOT = Path(__file__).parents[1]
WORKER = """
import sys
import torch
import torch.distributed as dist
from diffusers import ContextParallelConfig
from talkinghead.animators.dit.loading import open_networks
from talkinghead.animators.dit.speed import share
from tests.test_dit_levers import latents

torch.accelerator.device_count = lambda: 1  # diffusers asks for a GPU, which gloo does not need
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=int(sys.argv[3]), world_size=2)
networks = open_networks(sys.argv[1])
plain = latents(networks)
share(networks.transformer, ContextParallelConfig(ulysses_degree=2))
difference = float((latents(networks) - plain).abs().max())
assert difference <= 1e-5, difference
assert networks.transformer.transformer_blocks[0].attn1.processor._parallel_config is not None
dist.destroy_process_group()
"""


@pytest.mark.skipif(not os.environ.get("TALKINGHEAD_SLOW_TESTS"), reason="takes 25 s; set TALKINGHEAD_SLOW_TESTS=1")
def test_two_processes_share_the_tokens_and_give_the_plain_latents(tmp_path: Path) -> None:
    tiny = write_checkpoint(tmp_path / "tiny", layers=2)
    command = [sys.executable, "-W", "ignore", "-c", WORKER, str(tiny), str(tmp_path / "meeting")]

    both = [subprocess.Popen([*command, str(rank)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0], errors
