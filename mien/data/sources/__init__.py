"""Read data sets into rows of one form. A source is one function ``read(root, tasks, reading) -> SourceRows``.

To add one: write the function in a file of its own, add it to `SOURCES`; the contract tests then run over it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mien.data.rows import SourceRows
from mien.data.sources import aaf, adience, appa_real, fairface, lfw, manifest, pixels, utkface
from mien.data.sources.reading import Reading
from mien.errors import UsageError
from mien.files import is_file, is_folder
from mien.tasks import Task

ReadSource = Callable[[Path, Sequence[Task], Reading], SourceRows]


@dataclass(frozen=True, kw_only=True)
class Source:
    """``is_file``: the argument is a file (else a folder). ``has_table``: a label file gives the labels, not names.

    ``licence`` and ``citation`` are written to dataset.json.
    """

    read: ReadSource
    is_file: bool
    licence: str
    citation: str
    has_table: bool = True


_UTKFACE_LICENCE = "UTKFace: non-commercial research only"
_UTKFACE_CITATION = (
    "Zhang, Song, Qi: Age Progression/Regression by Conditional Adversarial Autoencoder. CVPR 2017 (UTKFace)."
)

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "utkface": Source(
            read=utkface.read, is_file=False, has_table=False, licence=_UTKFACE_LICENCE, citation=_UTKFACE_CITATION
        ),
        "pixels": Source(read=pixels.read, is_file=True, licence=_UTKFACE_LICENCE, citation=_UTKFACE_CITATION),
        "fairface": Source(
            read=fairface.read,
            is_file=False,
            licence="FairFace: CC BY 4.0",
            citation="Karkkainen, Joo: FairFace: Face Attribute Dataset for Balanced Race, Gender, and Age. WACV 2021.",
        ),
        "adience": Source(
            read=adience.read,
            is_file=False,
            licence="Adience: research only",
            citation="Eidinger, Enbar, Hassner: Age and Gender Estimation of Unfiltered Faces. IEEE TIFS 2014.",
        ),
        "aaf": Source(
            read=aaf.read,
            is_file=False,
            has_table=False,
            licence="All-Age-Faces: no licence stated; research only",
            citation=(
                "Cheng, Li, Wang, Yu, Wang: Exploiting Effective Facial Patches for Robust Gender Recognition. "
                "Tsinghua Science and Technology 24(3), 2019 (All-Age-Faces)."
            ),
        ),
        "appa-real": Source(
            read=appa_real.read,
            is_file=False,
            licence="APPA-REAL: research only",
            citation=(
                "Agustsson, Timofte, Escalera, Baro, Guyon, Rothe: Apparent and Real Age Estimation in Still Images "
                "with Deep Residual Regressors on APPA-REAL Database. FG 2017."
            ),
        ),
        "lfw": Source(
            read=lfw.read,
            is_file=False,
            has_table=False,
            licence="LFW: no licence stated for the photos; research only",
            citation=(
                "Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild. University of Massachusetts, Amherst, "
                "Technical Report 07-49, 2007. Genders: Afifi, Abdelhamed: AFIF4. Journal of Visual Communication and "
                "Image Representation 62, 2019."
            ),
        ),
        "manifest": Source(
            read=manifest.read,
            is_file=True,
            licence="as the owner of the images states",
            citation="the user's own images",
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class SourceArgument:
    """One SOURCE of the command line: ``label`` is its name in the manifest (``fairface``, then ``fairface-2``)."""

    scheme: str
    root: Path
    label: str

    @property
    def source(self) -> Source:
        return SOURCES[self.scheme]


def parse_sources(texts: Sequence[str]) -> tuple[SourceArgument, ...]:
    """Read SOURCE arguments such as ``utkface:data/utkface``; raises `UsageError` naming what was expected."""
    if not texts:
        raise UsageError(f"Expected one or more sources such as utkface:DIR; known: {_known()}.")
    seen: Counter[str] = Counter()
    arguments = []
    for text in texts:
        scheme, colon, place = text.partition(":")
        if not colon or scheme not in SOURCES or not place:
            raise UsageError(f"Expected a source as NAME:PATH with one of {_known()}, got {text!r}.")
        # Path.expanduser raises for a user who is not there.
        root, wanted = Path(os.path.expanduser(place)), "file" if SOURCES[scheme].is_file else "folder"  # noqa: PTH111
        if not (is_file(root) if SOURCES[scheme].is_file else is_folder(root)):
            raise UsageError(f"The source {scheme} expects an existing {wanted}, got {place!r}.")
        seen[scheme] += 1
        label = scheme if seen[scheme] == 1 else f"{scheme}-{seen[scheme]}"
        arguments.append(SourceArgument(scheme=scheme, root=root.resolve(), label=label))
    return tuple(arguments)


def _known() -> str:
    return ", ".join(f"{name}:{'FILE' if source.is_file else 'DIR'}" for name, source in SOURCES.items())
