"""Two processes normalise their parts of a batch as one process normalises all of it."""

import subprocess
import sys
from pathlib import Path

import torch
from timm.layers.norm_act import BatchNormAct2d

from tests.training import global_batch_norm_process


def test_parts_of_a_batch_are_normalised_as_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batch = {"input": 3 + 2 * torch.randn(5, 3, 4, 4), "weights": torch.randn(5, 3, 4, 4)}
    torch.save(batch, tmp_path / "batch.pt")
    other = subprocess.Popen([sys.executable, str(global_batch_norm_process.__file__), "1", str(tmp_path)])
    global_batch_norm_process.main(0, str(tmp_path))
    assert other.wait(timeout=300) == 0
    layer, whole = BatchNormAct2d(3, act_layer=torch.nn.SiLU), batch["input"].clone().requires_grad_()
    output = layer(whole)
    (output * batch["weights"]).sum().backward()
    for rank in (0, 1):
        part = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(part["output"], output.detach()[rank::2])
        torch.testing.assert_close(part["input"], whole.grad[rank::2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(part["parameters"], [value.grad for value in layer.parameters()])
        torch.testing.assert_close(part["state"], layer.state_dict())
