"""Methods that read what the attentions of a transformer look at."""
