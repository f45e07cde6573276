"""Format figures for people: the same titles and numbers in tables, reports and model cards."""

from __future__ import annotations

from mien.evaluation.result import Evaluation
from mien.metrics.bootstrap import Estimate

HEADLINE = {
    "ordinal": ("mae", "rmse", "cs5", "bias", "mae_to_interval", "group_accuracy", "coverage", "width", "lap_error"),
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

#: Printed name of each figure, and whether it is a fraction (printed in per cent).
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
    "answered": ("coverage (not abstained)", True),
    "accuracy_answered": ("selective accuracy", True),
    "lap_error": ("LAP epsilon error", False),
    "aurc": ("area under the risk-coverage curve (AURC)", True),
    "aurc_mae": ("area under the risk-coverage curve (AURC)", False),
    "overconfidence": ("probability minus accuracy", True),
    "accuracy_score_group_min": ("worst-group accuracy", True),
    "accuracy_score_difference": ("accuracy, difference", True),
    "accuracy_score_ratio": ("accuracy, ratio", False),
    "demographic_parity_difference": ("demographic parity, difference", True),
    "demographic_parity_ratio": ("demographic parity, ratio", False),
    "equalized_odds_difference": ("equalized odds, difference", True),
    "equalized_odds_ratio": ("equalized odds, ratio", False),
    "mae_predicted_bin": ("MAE, predicted bin", False),
    "mae_true_bin": ("MAE, true bin (an oracle)", False),
    "constant": ("MAE of the true bin's median (an oracle without an image)", False),
    "error_rate": ("error rate", True),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "f1": ("F1", True),
}


def figure_title(name: str) -> str:
    """Return the printed name of a figure."""
    return FIGURES.get(name, (name, False))[0]


def format_number(name: str, value: float | None) -> str:
    """Return a number as printed: per cent with one decimal for fractions, else two or three decimals.

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


def format_interval(name: str, estimate: Estimate) -> str:
    """Return an interval as printed, or why there is none."""
    if estimate.low is None:
        return estimate.reason or "–"
    return f"{format_number(name, estimate.low)} to {format_number(name, estimate.high)}"


def headline(evaluation: Evaluation) -> list[tuple[str, str, Estimate]]:
    """Return the rows of the headline table: task, name of the figure, figure.

    Figures without a face are left out, except the main one of a task.
    """
    rows = []
    for task, figures in evaluation.tasks.items():
        for name in HEADLINE[figures.kind]:
            estimate: Estimate | None = getattr(figures, name)
            if estimate is not None and (estimate.n or name == figures.main):
                rows.append((task, name, estimate))
        if figures.selective is not None and figures.selective.area.n:
            name = "aurc" if figures.selective.measure == "error_rate" else "aurc_mae"
            rows.append((task, name, figures.selective.area))
    return rows
