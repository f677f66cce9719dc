# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # One digit: LIME, Grad-CAM++ and Score-CAM
#
# A network is trained on handwritten digits, saved, and one digit is explained. The command line does the
# same in four lines; [the digits laboratory](../../docs/digits.md) has more.

# %%
import numpy as np

import pellucid
from pellucid.digits.data import bundled
from pellucid.digits.training import Plan, train

digits = bundled()
trained = train(digits, Plan("residual", epochs=6), progress=False)
accuracy = trained.accuracy
print("held-out accuracy", accuracy)
trained.save("digits.safetensors")

# %% [markdown]
# The file holds architecture, preprocessing and class names, so that it is taken wherever a model is.

# %%
model = pellucid.load("digits.safetensors")
outputs = model(digits.test.inputs).detach()
predicted = outputs.argmax(1).numpy()
right = np.flatnonzero(predicted == digits.test.labels)
index = next(int(i) for i in right if digits.test.labels[i] == 7)
digit = digits.test.picture(index)
digit.save("digit.png")
print("label", digits.test.labels[index])

# %% [markdown]
# ## Three maps of it
#
# LIME hides cells of a grid and fits a line to what the model says. Grad-CAM++ and Score-CAM weigh the maps
# of the last layer: one by gradients, one by the score of the digit seen through each map.

# %%
methods = ["lime:segments=grid:7,samples=600,baseline=black", "grad-cam++", "score-cam"]
c = pellucid.compare(model, "digit.png", methods, progress=False)
c.save("digit_maps.png", caption=True)
for e in c:
    print(f"{e.method}: {e.cost}", *e.warnings)

# %% [markdown]
# How much of the evidence lies on the strokes? The gaps between them may be evidence as well: a 7 is no 9
# because its loop is open.

# %%
ink = np.asarray(digit) > 60
on_ink = {}
for e in c:
    evidence = e.attribution[0].sum(0).clamp(min=0).numpy()
    on_ink[e.method] = float(evidence[ink].sum() / evidence.sum())
    print(f"{e.method}: {on_ink[e.method]:.0%} on {ink.mean():.0%} of the pixels")

# %% [markdown]
# ## Which of them to trust
#
# A digit may fill its picture, so that hiding it anywhere lowers the score by as much as is hidden. Then no
# map of places can be right, and the verdict says so.

# %%
print(c.verdict)

# %% [markdown]
# ## Its worst mistake
#
# Of all digits that it gets wrong, the one it is surest about: what speaks for the wrong class rather than
# for the right one?

# %%
wrong = np.flatnonzero(predicted != digits.test.labels)
margin = outputs.max(1).values.numpy() - outputs.numpy()[np.arange(len(outputs)), digits.test.labels]
worst = int(wrong[margin[wrong].argmax()])
said, meant = str(predicted[worst]), str(digits.test.labels[worst])
why = pellucid.explain(
    model, digits.test.picture(worst), "lrp", target=pellucid.Contrast(said, meant), progress=False
)
why.save("worst.png", caption=True)
print(
    f"a {meant} taken for a {said}: {why.labels[0]} {why.score[0]:.2f}, {len(wrong)} of {len(outputs)} wrong"
)
