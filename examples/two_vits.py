"""Two vision transformers compared on one picture: python examples/two_vits.py."""

import pellucid

# Random weights, so that it runs without a network; leave that out, or pass weights="FILE".
models = [
    pellucid.load(f"timm:{name}", random_weights=True)
    for name in ("vit_tiny_patch16_224", "deit_tiny_patch16_224")
]
c = pellucid.compare(models, "sample:cat", ["legrad", "grad-cam"], target=281)
c.save("two_vits.html")
for e in c:
    print(e.model, e.method, f"score {e.score[0]:.2f}")
