# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Why did my model fail here?
#
# The photograph shows an astronaut. The model says "football helmet", without conviction.

# %%
import numpy as np
from PIL import Image

import pellucid

model = pellucid.load()
e = pellucid.explain(model, "sample:astronaut", "grad-cam", progress=False)
guesses = e.prediction[0][:5]
for guess in guesses:
    print(f"{guess.label}: {guess.probability:.0%}")

# %% [markdown]
# ## First question: can it be right at all?
#
# A class that the model does not have cannot be predicted. Then the failure is the list of classes, not
# what it saw.

# %%
print("has a class for astronauts:", any("astronaut" in label for label in model.labels))

# %% [markdown]
# ## What does the wrong answer rest on?
#
# Not every map is evidence: ask several methods, and let interventions say which to read.

# %%
c = pellucid.compare(model, "sample:astronaut", ["grad-cam", "lrp", "guided-backprop"], progress=False)
print(c.verdict)
best = c[c.verdict.recommended]
best.save("why.png")

# %% [markdown]
# ## Is that true?
#
# Take away what the map points at, and as much elsewhere. If the map is right, the first changes the answer
# and the second does not.

# %%
box = best.bounding_box(0, share=0.3)
picture = pellucid.open_picture("sample:astronaut").rgb
print("strongest evidence:", box)


def hidden(left, top, right, bottom):
    """The picture with one box blurred away to its mean colour."""
    pixels = np.array(picture)
    pixels[top:bottom, left:right] = pixels.mean((0, 1)).astype("uint8")
    return Image.fromarray(pixels)


left, top, right, bottom = (int(v) for v in (box.left, box.top, box.right, box.bottom))
elsewhere = (0, picture.height - (bottom - top), right - left, picture.height)
target = best.target[0]
scores = {}
for name, where in {
    "the strongest evidence": (left, top, right, bottom),
    "a box elsewhere": elsewhere,
}.items():
    found = pellucid.explain(model, hidden(*where), "grad-cam", target=target, progress=False)
    scores[name] = float(found.score[0])
    print(f"without {name}: {scores[name]:.2f} of {best.score[0]:.2f}, now {found.prediction[0][0].label}")

# %% [markdown]
# ## What would it take for another answer?
#
# A contrast with the runner-up: what speaks for one rather than for the other.

# %%
other = guesses[1].label
why = pellucid.explain(
    model,
    "sample:astronaut",
    "hirescam",
    target=pellucid.Contrast(guesses[0].label, other),
    signed=True,
    progress=False,
)
why.save("contrast.png")
print(why.labels[0], f"{why.score[0]:.2f}")
