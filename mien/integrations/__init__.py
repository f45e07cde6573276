"""Convert predictions for other libraries; each module imports its library, and is imported only when it is used.

- `mien.integrations.scikit_learn`: `FaceAttributes`, a transformer from images to a DataFrame.
- `mien.integrations.supervision`: `to_detections`, the faces of an image as ``supervision.Detections``.
"""
