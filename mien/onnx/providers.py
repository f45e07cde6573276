"""Choose what computes a graph: the processor, or an accelerator through one of ONNX Runtime's execution providers.

The packages of ONNX Runtime differ in the providers they hold, and only one of them can be installed at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mien.errors import MienError, UsageError

CPU, AUTO = "cpu", "auto"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """An execution provider: ONNX Runtime's ``name`` of it, what to install, and the faces in one call of a model.

    Accelerators are slow to start a call; on a processor larger batches fall out of its cache.
    """

    name: str
    install: str
    batch: int = 8


PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        CPU: Provider(name="CPUExecutionProvider", install="pip install onnxruntime"),
        "cuda": Provider(name="CUDAExecutionProvider", install="pip install 'mien[gpu]'", batch=64),
        "tensorrt": Provider(
            name="TensorrtExecutionProvider", install="pip install 'mien[gpu]' and NVIDIA TensorRT", batch=64
        ),
        "openvino": Provider(name="OpenVINOExecutionProvider", install="pip install 'mien[openvino]'"),
        "directml": Provider(name="DmlExecutionProvider", install="pip install 'mien[directml]' on Windows", batch=32),
        "coreml": Provider(name="CoreMLExecutionProvider", install="pip install onnxruntime on macOS", batch=16),
        "rocm": Provider(name="ROCMExecutionProvider", install="AMD's build of onnxruntime-rocm", batch=64),
    }
)
#: What ``auto`` tries before the processor: what only those have who installed it.
_AUTOMATIC = ("cuda", "rocm", "directml")


class ProviderError(MienError):
    """An execution provider is not there or does not start."""


def check_provider(name: str) -> str:
    """Return the provider that ``name`` means here, ``auto`` being the first accelerator there is.

    Raises:
        UsageError: there is no such provider.
        ProviderError: the installed ONNX Runtime lacks it.

    >>> check_provider("cpu")
    'cpu'
    """
    if name not in (AUTO, *PROVIDERS):
        raise UsageError(f"Unknown provider {name!r}; known: {', '.join((AUTO, *PROVIDERS))}.")
    available = available_providers()
    if name == AUTO:
        return next((each for each in _AUTOMATIC if each in available), CPU)
    if name not in available:
        raise ProviderError(
            f"The provider {name!r} is not in the installed ONNX Runtime, which has {', '.join(available)}: "
            f"{PROVIDERS[name].install}; only one package of ONNX Runtime may be installed at a time."
        )
    return name


def available_providers() -> list[str]:
    """Return the providers of the installed ONNX Runtime, by their names here."""
    import onnxruntime

    names = onnxruntime.get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider.name in names]


def batch_of(name: str) -> int:
    """Return how many faces one call of a model should have on this provider."""
    return PROVIDERS[name].batch
