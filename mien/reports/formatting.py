"""Figures of `metrics.json` in, the words and numbers that people read out: one wording for table, report and card."""

from __future__ import annotations

from typing import Any

HEADLINE = {
    "ordinal": ("mae", "rmse", "cs5", "bias", "mae_to_interval", "group_accuracy", "coverage", "width"),
    "nominal": (
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "roc_auc",
        "log_loss",
        "ece",
        "ece_uncalibrated",
        "answered",
        "accuracy_answered",
    ),
}

#: Printed name of each figure, and whether it is a share (printed in per cent).
FIGURES: dict[str, tuple[str, bool]] = {
    "mae": ("MAE", False),
    "rmse": ("RMSE", False),
    "cs5": ("CS@5", True),
    "bias": ("bias (mean signed error)", False),
    "mae_to_interval": ("MAE to the labelled interval", False),
    "group_accuracy": ("inside the labelled interval", True),
    "coverage": ("interval coverage", True),
    "width": ("mean interval width", False),
    "accuracy": ("accuracy", True),
    "balanced_accuracy": ("balanced accuracy", True),
    "macro_f1": ("macro-F1", True),
    "roc_auc": ("ROC-AUC", False),
    "log_loss": ("log-loss (nats)", False),
    "ece": ("calibration error (ECE)", True),
    "ece_uncalibrated": ("ECE before calibration", True),
    "answered": ("answered (not abstained)", True),
    "accuracy_answered": ("accuracy where answered", True),
    "mae_predicted_bin": ("MAE, predicted bin", False),
    "mae_true_bin": ("MAE, true bin (an oracle)", False),
    "constant": ("MAE of the true bin's median (an oracle without a picture)", False),
    "error_rate": ("error rate", True),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "f1": ("F1", True),
}


def figure_title(name: str) -> str:
    """The printed name of a figure."""
    return FIGURES.get(name, (name, False))[0]


def format_number(name: str, value: float | None) -> str:
    """A figure's number as printed: per cent with one decimal for shares, else two or three decimals.

    >>> format_number("accuracy", 0.9412), format_number("mae", 4.567), format_number("mae", None)
    ('94.1 %', '4.57', '–')
    """
    if value is None:
        return "–"
    if FIGURES.get(name, ("", False))[1]:
        text = f"{100 * value:.1f} %"
    else:
        text = f"{value:.3f}" if name in ("roc_auc", "log_loss") else f"{value:.2f}"
    return text.replace("-", "−")


def format_interval(name: str, figure: dict[str, Any]) -> str:
    """A figure's interval as printed, or why there is none."""
    if figure["low"] is None:
        return str(figure.get("reason", "–"))
    return f"{format_number(name, figure['low'])} to {format_number(name, figure['high'])}"


def headline(metrics: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Task, figure name and figure of the headline table, in order; figures without a single face are left out."""
    rows = []
    for task, figures in metrics["tasks"].items():
        for name in HEADLINE[figures["kind"]]:
            # Files of earlier versions lack the younger figures.
            if name in figures and (figures[name]["n"] or name == figures["main"]):
                rows.append((task, name, figures[name]))
    return rows
