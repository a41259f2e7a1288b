"""Networks in plain torch: images in, tensors out. They know no files and no photos."""
