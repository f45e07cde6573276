"""mien: age, gender, ethnicity and any declared attribute of faces, from audited data to fast prediction.

Importing this package is cheap: the rooms that need torch, lightning or pandas are imported by name only.
"""

import os

# Before anything imports ONNX Runtime, which would otherwise write a device id into the user's cache folder and look up
# its maker's host.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
