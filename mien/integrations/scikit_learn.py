"""Give predictions to scikit-learn: a transformer from images to a DataFrame with one row an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from mien.api import load, to_dataframe

if TYPE_CHECKING:
    from mien.api import ImageInput


class FaceAttributes(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Predict the attributes of the largest face of each image.

    There is nothing to learn: ``fit`` loads the model and sets ``model_`` (a `mien.FaceModel`).

    Args:
        model: the name of a bundled model or the path of a bundle.
        tasks: names of the tasks to predict; all by default.
        cropped: the images are faces that are cropped already, one an image.
        numeric: leave out every column that holds no number, so that an estimator can follow.

    >>> FaceAttributes("small", tasks=["age"], numeric=True)
    FaceAttributes(model='small', numeric=True, tasks=['age'])
    """

    def __init__(
        self,
        model: str = "default",
        *,
        tasks: Sequence[str] | None = None,
        cropped: bool = False,
        numeric: bool = False,
    ) -> None:
        self.model, self.tasks, self.cropped, self.numeric = model, tasks, cropped, numeric

    def fit(self, images: Iterable[ImageInput], y: Any = None) -> FaceAttributes:
        """Load the model.

        Raises:
            UsageError: an argument is wrong.
            BundleError: the file is not there or is no bundle.
        """
        self.model_ = load(self.model, tasks=self.tasks)
        return self

    def transform(self, images: Iterable[ImageInput]) -> pd.DataFrame:
        """Return one row an image, in the order given; the columns of `mien.to_dataframe`.

        A number is NaN where the image has no face or cannot be read: see the column ``status``.
        """
        check_is_fitted(self)
        found = self.model_.predict(images, largest=True, cropped=self.cropped)
        table = to_dataframe(list(found), tasks=self.model_.tasks.values())
        return table.select_dtypes("number").astype(np.float64) if self.numeric else table
