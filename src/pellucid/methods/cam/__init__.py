"""Class activation maps: weighted sums of the feature maps of one layer."""
