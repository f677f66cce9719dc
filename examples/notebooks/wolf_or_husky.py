# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Wolf or husky?
#
# A classifier that tells wolves from huskies by the snow behind them is the best-known shortcut. Here one
# is trained on drawings, found with maps, proven by changing the background alone, and removed.

# %%
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

import pellucid

LABELS = ["husky", "wolf"]
SIZE = 64
LIGHTER = 30  # grey levels: what tells the animals apart is faint beside what tells snow from grass


def background(snow, random):
    """Snow, or grass."""
    colour = np.array([225, 230, 240] if snow else [70, 120, 60])
    return (colour + random.normal(0, 14, (SIZE, SIZE, 3))).clip(0, 255).astype("uint8")


def animal(wolf, random):
    """Where the animal is, and the picture of it: a husky is light below the eyes, a wolf above them."""
    x, y = (int(v) for v in random.integers(26, 39, 2))
    fur = int(random.integers(90, 120))
    dark, light = (fur,) * 3, (fur + LIGHTER,) * 3
    picture, where = Image.new("RGB", (SIZE, SIZE)), Image.new("L", (SIZE, SIZE))
    face = (x - 8, y - 11, x + 8, y - 4) if wolf else (x - 8, y + 4, x + 8, y + 11)
    for image, fur_colour, light_colour in ((picture, dark, light), (where, 255, 255)):
        pen = ImageDraw.Draw(image)
        for side in (-1, 1):
            pen.polygon(
                [(x + side * 13, y - 23), (x + side * 2, y - 9), (x + side * 13, y - 4)], fill=fur_colour
            )
        pen.ellipse((x - 15, y - 14, x + 15, y + 16), fill=fur_colour)
        pen.ellipse(face, fill=light_colour)
        for side in (-5, 5):
            pen.ellipse((x + side - 1, y - 2, x + side + 1, y), fill=fur_colour)
    return np.asarray(where) > 0, np.asarray(picture) + random.normal(0, 6, (SIZE, SIZE, 1))


def scene(wolf, snow, random):
    """A picture, and where its animal is."""
    where, drawn = animal(wolf, random)
    return np.where(where[..., None], drawn, background(snow, random)).clip(0, 255).astype("uint8"), where


def scenes(count, snow_goes_with_wolf, seed):
    """Pictures and classes; in so many of them snow lies behind the wolf and grass behind the husky."""
    random = np.random.default_rng(seed)
    wolves = random.integers(0, 2, count)
    as_usual = random.random(count) < snow_goes_with_wolf
    pictures = [scene(w, w == u, random)[0] for w, u in zip(wolves, as_usual, strict=True)]
    return np.stack(pictures), torch.from_numpy(wolves)


def as_inputs(pictures):
    """What the network reads."""
    return torch.from_numpy(np.asarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


# %% [markdown]
# ## Training it
#
# 97 % of the wolves stand in the snow.


# %%
def train(pictures, classes, epochs=4):
    """A small network, in some seconds."""
    torch.manual_seed(0)
    layers = []
    for wide, wider in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(wide, wider, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 64, 2))
    x, optimizer = as_inputs(pictures), torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(epochs):
        for some in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[some]), classes[some]).backward()
            optimizer.step()
    return net


def accuracy(net, snow_goes_with_wolf):
    """On new pictures."""
    pictures, classes = scenes(300, snow_goes_with_wolf, seed=9)
    with torch.no_grad():
        return (net(as_inputs(pictures)).argmax(1) == classes).float().mean().item()


biased = train(*scenes(900, 0.97, seed=0))
usual, swapped = accuracy(biased, 0.97), accuracy(biased, 0.0)
print(f"accuracy on pictures like those it learned from: {usual:.0%}")

# %% [markdown]
# By its accuracy this is a good classifier. The test pictures have the shortcut, too.
#
# ## Finding it
#
# How much of the evidence lies on the animal? It should be most of it.

# %%
half = pellucid.Preprocess((SIZE, SIZE), scale_to=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
model = pellucid.Model(biased, labels=LABELS, preprocess=half, name="learned from snow")
random = np.random.default_rng(5)
wolves = [scene(wolf=1, snow=True, random=random) for _ in range(12)]


def on_animal(model, method, **options):
    """The share of a method's positive evidence for the wolf that lies on the animal, over some pictures."""
    e = pellucid.explain(
        model, [picture for picture, _ in wolves], method, target="wolf", progress=False, **options
    )
    evidence = e.attribution.sum(1).clamp(min=0).numpy()
    inside = np.stack([where for _, where in wolves])
    return float((evidence * inside).sum() / evidence.sum())


covered = np.mean([where for _, where in wolves])
print(f"the animal covers {covered:.0%}")
methods = {"lrp": {}, "integrated-gradients": {"baseline": "mean"}}
before = {method: on_animal(model, method, **options) for method, options in methods.items()}
for method, share in before.items():
    print(f"{method}: {share:.0%} of the evidence for 'wolf' lies on the animal")

# %% [markdown]
# Most of the evidence lies on the snow. And what does the verdict say? That a background is all over the
# picture: there is no place to point at, so that no map of places is right about it.

# %%
c = pellucid.compare(model, wolves[0][0], ["lrp", "grad-cam"], target="wolf", progress=False)
print(c.verdict)
c.save("wolf.html")

# %% [markdown]
# ## Proving it
#
# The same animals, on the other background. Nothing else changes.

# %%
seen = {}
for wolf, animal_name in enumerate(LABELS):
    for snow in (False, True):
        random = np.random.default_rng(7)
        pictures = [scene(wolf, snow, random)[0] for _ in range(100)]
        with torch.no_grad():
            seen[animal_name, snow] = biased(as_inputs(pictures)).argmax(1).float().mean().item()
        print(
            f"{animal_name} on {'snow' if snow else 'grass'}: called a wolf in {seen[animal_name, snow]:.0%}"
        )
print(f"accuracy where backgrounds are exchanged: {swapped:.0%}")

# %% [markdown]
# ## Removing it
#
# The same number of pictures, with backgrounds that have nothing to do with the class.

# %%
fair = train(*scenes(900, 0.5, seed=0), epochs=8)
mended = pellucid.Model(fair, labels=LABELS, preprocess=half, name="learned from animals")
after = {method: on_animal(mended, method, **options) for method, options in methods.items()}
for method, share in after.items():
    print(f"{method}: {share:.0%} of the evidence for 'wolf' lies on the animal")
fair_usual, fair_swapped = accuracy(fair, 0.97), accuracy(fair, 0.0)
print(f"accuracy: {fair_usual:.0%}, and {fair_swapped:.0%} where backgrounds are exchanged")
pellucid.compare([model, mended], wolves[0][0], ["lrp"], target="wolf", progress=False, verdict=False).save(
    "before_and_after.png"
)
