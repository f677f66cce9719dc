"""A classifier that gives scores alone, a forest of scikit-learn: python examples/black_boxes.py."""

import numpy as np
from pictures import folder
from PIL import Image
from sklearn.ensemble import RandomForestClassifier

import pellucid

files = sorted(folder("shapes", 60).rglob("*.png"))
x = np.stack([np.asarray(Image.open(file).resize((16, 16))) for file in files]) / 255
forest = RandomForestClassifier(random_state=0).fit(x.reshape(len(x), -1), [f.parent.name for f in files])


def scores(batch):
    return forest.predict_proba(np.moveaxis(batch.numpy(), 1, -1).reshape(len(batch), -1))


plain = pellucid.Preprocess((16, 16), scale_to=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
model = pellucid.Model(scores, preprocess=plain, labels=forest.classes_.tolist())
pellucid.explain(model, files[0], "partition-shap", segments="grid:8", samples=200).save("forest.png")
