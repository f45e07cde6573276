"""Read, check and run ONNX files."""
