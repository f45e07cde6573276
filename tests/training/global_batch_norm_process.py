"""One of two processes that normalise a batch together; saves what it got. Used by test_global_batch_norm.py."""

import sys
from datetime import timedelta

import torch
from timm.layers.norm_act import BatchNormAct2d

from mien.training.global_batch_norm import normalise_globally


def main(rank: int, folder: str) -> None:
    """Normalise this process's part of the batch in ``folder``."""
    limit = timedelta(seconds=300)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", limit, rank=rank, world_size=2)
    layer = BatchNormAct2d(3, act_layer=torch.nn.SiLU)
    normalise_globally(layer)
    batch = torch.load(f"{folder}/batch.pt")
    part = batch["input"][rank::2].clone().requires_grad_()
    output = layer(part)
    (output * batch["weights"][rank::2]).sum().backward()
    gradients = [value.grad for value in layer.parameters()]
    for gradient in gradients:
        torch.distributed.all_reduce(gradient)
    result = {"output": output.detach(), "input": part.grad, "parameters": gradients, "state": layer.state_dict()}
    torch.save(result, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
