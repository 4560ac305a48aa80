"""Training clips: data sets, synthetic scenes, encoded clips, augmentation."""
