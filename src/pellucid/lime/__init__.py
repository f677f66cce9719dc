"""LIME for any model of text or tables, and the few explanations that stand for many.

>>> from pellucid import lime
>>> def spam(texts):  # any function from texts to class probabilities
...     return [[0.1, 0.9] if "prize" in t else [0.8, 0.2] for t in texts]
>>> found = lime.text(spam, "You won a prize today", class_names=["mail", "spam"], samples=500)
>>> found.as_list()[0][0]
'prize'
"""

from pellucid.lime.picking import Pick, pick
from pellucid.lime.records import LabelExplanation
from pellucid.lime.result import LocalExplanation
from pellucid.lime.tables import tabular
from pellucid.lime.words import text

__all__ = ["LabelExplanation", "LocalExplanation", "Pick", "pick", "tabular", "text"]
