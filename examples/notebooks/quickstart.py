# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Quickstart
#
# A map of why a classifier decided, in one call. Nothing is downloaded: the default model,
# EfficientNet-Lite0 with its ImageNet weights, and the photographs come with Pellucid.

# %%
import pellucid

model = pellucid.load()
e = pellucid.explain(model, "sample:cat")
e  # shown as it is in a notebook

# %%
for guess in e.prediction[0][:3]:
    print(f"{guess.label}: {guess.probability:.0%}")
print("explained:", e.labels[0], "by layer", e.layer, "at a cost of", e.cost)

# %% [markdown]
# ## Another class, and a contrast
#
# The maps of two cats look alike. What speaks for one rather than for the other is a question of its own.

# %%
for target in ("tabby", "Egyptian cat", "tabby^Egyptian cat"):
    e = pellucid.explain(model, "sample:cat", "hirescam", target=target, signed=True)
    print(f"{e.labels[0]}: {e.score[0]:.2f}")
    e.save(f"{target.replace('^', ' against ')}.png")

# %% [markdown]
# ## Several methods, and which to trust
#
# `compare` hides parts of the picture and looks which map predicts by how much the score falls.

# %%
c = pellucid.compare(model, "sample:astronaut", ["grad-cam", "lrp", "guided-backprop"])
print(c.verdict)
c.save("report.html")

# %% [markdown]
# The sentences are explained in [which map to trust](../../docs/verdict.md).

# %%
supported = c.verdict.supported
