"""What a program calls: `load` a model, call it with an image, draw the result, make a table of many.

`import mien` offers these names; they are imported when they are first used.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mien.errors import UsageError
from mien.inference.bundle import ASSETS, Bundle, bundled_names, load_bundle
from mien.inference.hub import hub_address
from mien.inference.image_source import ACCEPTED, BinaryFile, ChannelOrder, check_channel_order, read_image
from mien.inference.metadata import BundleError
from mien.inference.pipeline import predict_image, predict_images, predict_with_pixels
from mien.inference.prepare import Search
from mien.onnx.providers import batch_of
from mien.output.dataframe import to_dataframe as to_dataframe
from mien.tasks import Task, select_tasks
from mien.types import ImageResult
from mien.vision.decode import MAX_PIXELS, RGBImage, as_path_text

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mien.video.run import VideoRun
    from mien.video.source import RawFormat
    from mien.video.types import Track

    #: What stands for one image.
    ImageInput = str | os.PathLike[str] | bytes | BinaryFile | Image.Image | NDArray[Any]


def load(
    model: str | os.PathLike[str] = "default",
    *,
    tasks: Iterable[str] | None = None,
    threads: int | None = None,
    min_score: float | None = None,
    min_size: float | None = None,
    small_faces: bool = False,
    channel_order: ChannelOrder = "rgb",
    max_pixels: int = MAX_PIXELS,
    provider: str = "auto",
) -> FaceModel:
    """Load a model that finds faces and predicts their attributes.

    Args:
        model: the name of a bundled model (`bundled_models`), the path of a bundle (``.onnx``), or a repository of the
            Hugging Face Hub, as in ``hf://user/name``, ``hf://user/name@revision`` and with ``#sha256=HEX`` after it.
        tasks: names of the tasks to predict, as in ``["age", "gender"]``.
        threads: processor cores for one call of the network; the default is 1, since `FaceModel.predict` runs several
            calls side by side.
        min_score: leave out faces whose detection score is below this, from 0 to 1; the default is 0.6.
        min_size: leave out faces whose box has a shorter side than this, in pixels.
        small_faces: search large photos at full resolution too, for faces of about 20 pixels; several times slower.
        channel_order: that of image arrays: ``"bgr"`` for those that OpenCV reads.
        max_pixels: images with more pixels get the status ``too_large``.
        provider: what computes: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``, ``directml``, ``coreml`` or ``rocm``, as
            far as the installed ONNX Runtime has it; ``auto`` is a GPU where one starts, else the processor.

    Raises:
        ProviderError: the provider is not in the installed ONNX Runtime, or does not start.
        UsageError: an argument is wrong.
        BundleError: the file is not there or is no bundle.
        MissingExtraError: ``hf://`` is given, and ``mien[hub]`` is not installed.

    >>> load("small", tasks=["age"])
    FaceModel('small@...', tasks=['age'])
    """
    return FaceModel(
        model,
        tasks=tasks,
        threads=threads,
        min_score=min_score,
        min_size=min_size,
        small_faces=small_faces,
        channel_order=channel_order,
        max_pixels=max_pixels,
        provider=provider,
    )


def bundled_models() -> list[str]:
    """Return the names of the models that the package brings, the default first.

    >>> bundled_models()[0]
    'default'
    """
    return bundled_names()


class FaceModel:
    """A loaded model; made by `load`, whose arguments it takes.

    Threads may share it. It can be pickled: the copy loads the same file again.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "default",
        *,
        tasks: Iterable[str] | None = None,
        threads: int | None = None,
        min_score: float | None = None,
        min_size: float | None = None,
        small_faces: bool = False,
        channel_order: ChannelOrder = "rgb",
        max_pixels: int = MAX_PIXELS,
        provider: str = "auto",
    ) -> None:
        if isinstance(tasks, str):
            raise UsageError(f"Expected tasks as a list of names, as in tasks=[{tasks!r}]; got the text {tasks!r}.")
        if threads is not None and not (isinstance(threads, Integral) and threads >= 1):
            raise UsageError(f"Expected threads of 1 or more, got {threads!r}.")
        self._search = Search(
            min_score=min_score,
            min_size=min_size,
            small_faces=small_faces,
            max_pixels=max_pixels,
            channel_order=check_channel_order(channel_order),
        )
        self._threads = threads
        self._bundle = _load(model, threads, provider)
        self._search = replace(self._search, provider=self._bundle.provider)
        self._path = self._bundle.path.resolve()
        address = hub_address(model)
        self._hub = None if address is None else str(address)
        chosen = self._bundle.tasks if tasks is None else select_tasks(self._bundle.tasks, tasks)
        self._tasks: Mapping[str, Task] = MappingProxyType({task.name: task for task in chosen})

    def __call__(self, image: ImageInput, *, cropped: bool = False, largest: bool = False) -> ImageResult:
        """Find the faces of one image and predict their attributes.

        Args:
            image: a path, the bytes of an image file, a binary file, a PIL image, or a uint8 array of
                height x width x 3 in ``channel_order``. EXIF orientation is applied.
            cropped: the image is one face already and gives exactly one.
            largest: keep the largest face alone.

        Raises:
            UsageError: the image is nothing of that. One that cannot be read is a result with the status
                ``unreadable``.
        """
        return predict_image(image, self._bundle, tasks=self._tasks, search=self._with(cropped, largest))

    def predict(
        self,
        images: Iterable[ImageInput],
        *,
        cropped: bool = False,
        largest: bool = False,
        workers: int | None = None,
        batch_size: int | None = None,
    ) -> Iterator[ImageResult]:
        """Predict many images: lazily, in their order, in the same memory however many there are.

        Args:
            images: each as for a call of the model; any iterable, also one without end.
            cropped: each image is one face already and gives exactly one.
            largest: keep each image's largest face alone.
            workers: threads; the default is one a core.
            batch_size: faces in one call of the network; the default suits the provider.

        Raises:
            UsageError: ``images`` is one image; or, while iterating, holds what is no image.

        >>> for result in load().predict(["a.jpg", "b.jpg"]): ...  # doctest: +SKIP
        """
        return predict_images(
            _several(images),
            self._bundle,
            tasks=self._tasks,
            search=self._with(cropped, largest),
            workers=workers,
            batch_size=batch_of(self.provider) if batch_size is None else batch_size,
        )

    def predict_with_pixels(
        self,
        images: Iterable[ImageInput],
        *,
        cropped: bool = False,
        largest: bool = False,
        workers: int | None = None,
        batch_size: int | None = None,
    ) -> Generator[tuple[ImageResult, RGBImage | None], None, None]:
        """Predict as `predict` does, and give with each result its decoded upright RGB image, None where unreadable."""
        return predict_with_pixels(
            _several(images),
            self._bundle,
            tasks=self._tasks,
            search=self._with(cropped, largest),
            workers=workers,
            batch_size=batch_of(self.provider) if batch_size is None else batch_size,
        )

    def video(
        self,
        source: str | os.PathLike[str],
        *,
        every: int | None = None,
        fps: float | None = None,
        start: float = 0.0,
        end: float | None = None,
        attributes_every: int = 5,
        best_frames: int = 8,
        workers: int | None = None,
        raw: RawFormat | None = None,
    ) -> VideoRun:
        """Follow the faces of a film, stream or camera, and predict each person once, from the best frames.

        Iterate the result for its frames (`VideoFrame`); its ``tracks`` are complete afterwards.

        Args:
            source: a film's path, an address as ``rtsp://...``, ``camera:0``, or ``-`` for standard input.
            every: look at one in so many frames.
            fps: look at so many frames a second at most, instead of ``every``.
            start, end: in seconds; leave out what is before and after.
            attributes_every: frames between two predictions of one track, at least.
            best_frames: frames of a track that its prediction combines, at most.
            workers: threads that find faces; the default is one a core.
            raw: what the frames on standard input are, where they have no header.

        Raises:
            UsageError: an argument is wrong.
            UnreadableFilmError: there is no such film, or it cannot be decoded.
            MissingExtraError: ``mien[video]`` is not installed.

        >>> for frame in load().video("clip.mp4"): ...  # doctest: +SKIP
        """
        from mien.video.opening import open_source
        from mien.video.people import PredictOptions
        from mien.video.run import RunOptions, VideoRun
        from mien.video.source import Sampling

        sampling = Sampling(every=every, fps=fps, start=start, end=end, max_pixels=self._search.max_pixels)
        predict = PredictOptions(attributes_every=attributes_every, best_frames=best_frames)
        options = RunOptions(search=self._search, predict=predict, workers=workers)
        opened = open_source(source, sampling, raw=raw)
        return VideoRun(opened, as_path_text(source), self._bundle, tuple(self._tasks.values()), options)

    def tracks(self, source: str | os.PathLike[str], **options: Any) -> list[Track]:
        """Return the tracks of a film: one object a face and scene, with its times and predictions.

        Takes the arguments of `video`, and raises its errors.

        >>> [(track.start, track.age.value) for track in load().tracks("clip.mp4")]  # doctest: +SKIP
        [(0.0, 41.0)]
        """
        run = self.video(source, **options)
        for _ in run:
            pass
        return run.tracks

    @property
    def name(self) -> str:
        """Return the model's name and the start of its file's SHA-256, as in ``default@1a2b3c4d``."""
        return self._bundle.identifier

    @property
    def provider(self) -> str:
        """Return the execution provider that computes, as in ``cpu`` or ``cuda``."""
        return self._bundle.provider

    @property
    def path(self) -> Path:
        """Return the path of the bundle."""
        return self._path

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Return the tasks that are predicted, by name; ``model.tasks["gender"].classes`` are a task's classes."""
        return self._tasks

    @property
    def card(self) -> str:
        """Return the model card in Markdown, with what the model is for, its errors by group and its data."""
        return self._bundle.metadata.card

    @property
    def licences(self) -> Mapping[str, Any]:
        """Return the licences of the weights and of each data set behind them."""
        return self._bundle.metadata.licences

    def _with(self, cropped: bool, largest: bool) -> Search:
        return replace(self._search, cropped=cropped, largest=largest)

    def __repr__(self) -> str:
        return f"FaceModel({self.name!r}, tasks={list(self._tasks)})"

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "tasks": list(self._tasks),
            "threads": self._threads,
            "min_score": self._search.min_score,
            "min_size": self._search.min_size,
            "small_faces": self._search.small_faces,
            "channel_order": self._search.channel_order,
            "max_pixels": self._search.max_pixels,
            "provider": self._bundle.provider,
        }
        # The package, or the Hub's cache, may lie elsewhere where the copy is made.
        bundled = self.path.parent == ASSETS.resolve()
        return _reload, (self.path.name if bundled else self._hub or str(self.path), bundled, self.name, options)


def draw(image: ImageInput, result: ImageResult, *, channel_order: ChannelOrder = "rgb") -> NDArray[Any]:
    """Return the picture with the box and the predictions of every face: uint8, height x width x 3.

    Small pictures are enlarged so that the text can be read.

    Args:
        image: the image that the result is of, as for a call of the model.
        result: of this image.
        channel_order: that of an array given, and of the picture returned.

    Raises:
        UsageError: the result is of an image of another size.
        UnreadableImageError: the image cannot be decoded.
    """
    import numpy as np

    from mien.output.annotate import draw_faces

    order = check_channel_order(channel_order)
    pixels = read_image(image, channel_order=order)
    if result.width is None:
        raise UsageError(f"Expected the result of an image that could be read; this one is {result.status}.")
    if (result.width, result.height) != (pixels.shape[1], pixels.shape[0]):
        raise UsageError(
            f"Expected the image that the result is of, of {result.width} x {result.height} pixels; "
            f"got one of {pixels.shape[1]} x {pixels.shape[0]}."
        )
    picture = np.array(draw_faces(pixels, result.faces), dtype=np.uint8)
    return np.ascontiguousarray(picture[:, :, ::-1]) if order == "bgr" else picture


def _reload(path: str, bundled: bool, name: str, options: dict[str, Any]) -> FaceModel:
    """Load a model that was pickled, or raise `BundleError` where its file is another now."""
    model = FaceModel(ASSETS / path if bundled else path, **options)
    if model.name != name:
        raise BundleError(f"The model was {name} when it was pickled; {path} is {model.name} now.")
    return model


def _load(model: str | os.PathLike[str], threads: int | None, provider: str) -> Bundle:
    if not isinstance(model, (str, os.PathLike)) or not str(model):
        raise UsageError(
            f"Expected the path of a bundle (.onnx), hf://user/name or the name of a bundled model "
            f"({', '.join(bundled_names())}); got {model!r:.60}."
        )
    # Of the default model's two forms the faster one on this processor.
    return load_bundle(None if model == "default" else Path(model), threads=threads, provider=provider)


def _several(images: Iterable[ImageInput]) -> Iterable[ImageInput]:
    """Return the images, or raise `UsageError` where they are one image."""
    one = isinstance(images, (str, bytes, bytearray, os.PathLike)) or hasattr(images, "read")
    if one or getattr(images, "ndim", 4) != 4 or not hasattr(images, "__iter__"):
        raise UsageError(
            f"Expected a list or another iterable of images, each {ACCEPTED}; got "
            f"{'None' if images is None else type(images).__name__}. For one image call the model itself: model(image)."
        )
    return images
