"""Which axioms a method keeps on a model: shown by explaining it, and rewritten forms of it, again."""
