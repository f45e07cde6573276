"""Open ONNX Runtime sessions, of the face detector and of bundles alike."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mien.errors import MienError
from mien.onnx.providers import CPU, PROVIDERS, ProviderError
from mien.onnx.time_limit import TIME_LIMIT, TimeLimitError, make_within

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession, NodeArg


class ForkedError(MienError):
    """A session is used in a process that was forked after it was opened."""


class Session:
    """An opened model. Threads may share it; made by `open_session`."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._process = os.getpid()
        self.inputs: list[NodeArg] = session.get_inputs()
        self.outputs: list[NodeArg] = session.get_outputs()

    def check_process(self) -> None:
        """Raise `ForkedError` in a process that was forked after the model was opened.

        A lock may be held there by a thread that the child does not have, and a call would never return.
        """
        if os.getpid() != self._process:
            raise ForkedError("a model that was opened before the process was forked cannot be run in the child")

    def run(
        self,
        names: Sequence[str],
        feeds: Mapping[str, NDArray[Any]],
        *,
        seconds: float | None = None,
        release: bool = False,
    ) -> list[NDArray[Any]]:
        """Return the outputs of these names; with ``release`` the session keeps no working memory after the call.

        Raises:
            ForkedError: see `check_process`.
            TimeLimitError: the graph took more than ``seconds``, where they are given.
            Exception: ONNX Runtime's own, which share no other base class.
        """
        import onnxruntime

        self.check_process()
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        if release:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        if seconds is None:
            return list(self._session.run(list(names), dict(feeds), options))
        with TIME_LIMIT.limit(seconds, partial(setattr, options, "terminate", True)) as deadline:
            try:
                return list(self._session.run(list(names), dict(feeds), options))
            except Exception as error:
                if deadline.passed:
                    raise TimeLimitError(f"it took more than {seconds:g} seconds") from error
                raise


def open_session(
    model: bytes,
    *,
    threads: int = 1,
    memory_pattern: bool = True,
    exact_int8: bool = False,
    seconds: float | None = None,
    provider: str = CPU,
) -> Session:
    """Open a model, given as the bytes of an ONNX file. ONNX Runtime prints nothing.

    Args:
        model: the bytes of a file that stands alone (`mien.onnx.checks`).
        threads: processor threads of one call.
        memory_pattern: plan memory once per input shape, and keep it; off where every call has another shape.
        exact_int8: compute 8-bit products without overflow on processors that have no 8-bit dot products; slower.
        seconds: how long ONNX Runtime, which computes what is constant in a graph, may take.
        provider: a name of `PROVIDERS`; what it cannot compute, the processor does.

    Raises:
        TimeLimitError: it took longer.
        ProviderError: the provider does not start.
        Exception: ONNX Runtime's own, which share no other base class.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_mem_pattern = memory_pattern
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if exact_int8:
        options.add_session_config_entry("session.x64quantprecision", "1")
    # With its fallback, ONNX Runtime prints a failed start on standard output and tries again.
    names = list(dict.fromkeys([PROVIDERS[provider].name, PROVIDERS[CPU].name]))
    start = partial(onnxruntime.InferenceSession, model, options, providers=names, enable_fallback=0)
    session = start() if seconds is None else make_within(seconds, start)
    # Without its driver or device a provider is left out with a warning.
    if session.get_providers()[0] != names[0]:
        raise ProviderError(f"the provider {provider!r} does not start here: its device or its driver is missing")
    return Session(session)
