"""mien: age, gender, ethnicity and any declared attribute of faces, from audited data to fast prediction.

Importing this package is cheap: the rooms that need torch, lightning or pandas are imported by name only.
"""

__version__ = "0.1.0"
