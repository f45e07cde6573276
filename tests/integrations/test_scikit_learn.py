"""The transformer: one row an image in the order given, numbers alone on request, clones and pipelines."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

import mien
from mien.errors import UsageError
from mien.integrations.scikit_learn import FaceAttributes

PHOTO = Path(__file__).parents[2] / "examples" / "eileen_collins.jpg"
NO_FACE = np.full((64, 64, 3), 127, dtype=np.uint8)


def test_there_is_a_row_an_image_in_order_with_the_predictions_of_the_model() -> None:
    table = FaceAttributes("small", tasks=["gender", "age"]).fit_transform([NO_FACE, str(PHOTO), b"no image"])
    assert list(table["status"]) == ["no_face", "ok", "unreadable"]
    face = mien.load("small")(PHOTO, largest=True).faces[0]
    assert table["age"][1] == face.age.value
    assert table["gender_probability"][1] == pytest.approx(face.gender.probability, abs=1e-6)
    assert np.isnan(table["age"][0])


def test_numbers_alone_have_the_same_columns_whether_or_not_a_face_is_found() -> None:
    transformer = FaceAttributes("small", numeric=True).fit([])
    with_face, without = transformer.transform([PHOTO]), transformer.transform([NO_FACE])
    assert list(with_face.columns) == list(without.columns)
    assert {"age", "gender_p_male"} <= set(with_face.columns)
    assert set(with_face.dtypes.astype(str)) == {"float64"}


def test_it_stands_in_a_pipeline_and_can_be_cloned() -> None:
    pipeline = make_pipeline(
        FaceAttributes("small", tasks=["age"], numeric=True), SimpleImputer(keep_empty_features=True)
    )
    assert clone(pipeline).fit_transform([PHOTO, NO_FACE]).shape[0] == 2


def test_it_is_fitted_first_and_names_what_is_wrong() -> None:
    with pytest.raises(NotFittedError):
        FaceAttributes("small").transform([PHOTO])
    with pytest.raises(UsageError):
        FaceAttributes("small", tasks=["shoe size"]).fit([])
