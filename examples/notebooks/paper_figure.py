# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # A figure for a paper
#
# One row of maps, at the width of a page, with fonts that can be read, and the facts in the file.

# %%
from pathlib import Path

import pellucid

model = pellucid.load()
methods = ["grad-cam", "layer-cam", "lrp", "saliency"]
c = pellucid.compare(model, "sample:coffee", methods, target="espresso", verdict=False, progress=False)
c.save("figure.pdf", width="page")
c.save("figure.svg", width="page")

# %% [markdown]
# A single map for a column, with its cells as they are:

# %%
e = c["layer-cam"]
e.save("layer_cam.pdf", width="column", interpolation="nearest", caption=True)

# %% [markdown]
# ## The caption
#
# What a reader needs to judge the figure, out of the result itself.

# %%
text = "; ".join(
    f"{one.method} ({one.paper})" + (f", layer {', '.join(one.layer)}" if one.layer else "") for one in c
)
print(f"Evidence for {e.labels[0]} ({e.output} {e.score[0]:.2f}) by {e.model}. {text}.")

# %% [markdown]
# ## Made again
#
# Whoever has the file has the request. Here the figure is made a second time from what was stored.

# %%
c.save("figure.npz")
stored = pellucid.Comparison.load("figure.npz")
old = stored["layer-cam"]
new = pellucid.explain(
    model, "sample:coffee", old.method, target=old.target[0], seed=old.seed, progress=False, **old.options
)
same = bool((old.raw - new.raw).abs().max() <= 1e-5 * old.raw.abs().max())
print("the same map:", same, [f.name for f in sorted(Path().glob("*.pdf"))])
