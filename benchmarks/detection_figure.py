"""Draw gender accuracy by angle from the two files of `benchmarks.detection`: python -m benchmarks.detection_figure"""

from __future__ import annotations

import json

import matplotlib as mpl

from benchmarks.facts import REPOSITORY, run_benchmark

FOLDER = REPOSITORY / "docs" / "results" / "detection"
TITLES = {"utkface": "UTKFace", "fairface": "FairFace", "lfw": "LFW"}


def draw() -> None:
    """Draw docs/results/detection/angles.png."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, (name, title) in zip(axes, TITLES.items(), strict=True):
        for when, colour in (("before", "#999999"), ("after", "#1f6fb4")):
            results = json.loads((FOLDER / f"{when}.json").read_text(encoding="utf-8"))
            rows = [row for row in results["angles"] if row["set"] == name]
            degrees = [row["degrees"] for row in rows]
            axis.plot(degrees, [100 * row["right"] / row["n"] for row in rows], "o-", color=colour, ms=3, label=when)
        axis.set(
            title=f"{title} (n = {rows[0]['n']} an angle)",
            xlabel="turned by, degrees",
            xticks=range(0, 361, 90),
            ylim=(0, 102),
        )
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("gender right, %")
    axes[0].legend(loc="lower right")
    figure.savefig(FOLDER / "angles.png", dpi=110)


if __name__ == "__main__":
    run_benchmark(draw)
