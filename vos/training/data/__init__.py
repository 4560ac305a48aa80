"""Training clips: data sets, synthetic scenes, coded clips, augmentation."""
