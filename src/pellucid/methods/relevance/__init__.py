"""Methods whose evidence goes back through the model by other rules than the gradient's."""
