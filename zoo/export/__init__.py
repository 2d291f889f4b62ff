"""A trained network as one file for other programs: ONNX, torch.export, or its weights alone."""
