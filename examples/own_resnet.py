"""A ResNet-18 of one's own with three classes, and a folder of pictures: python examples/own_resnet.py."""

import torch
from pictures import folder
from torchvision.models import resnet18

import pellucid

pictures = folder("shapes", 6)  # your own folder
network = resnet18(num_classes=3)  # and network.load_state_dict(torch.load("my_weights.pt"))
torch.nn.init.normal_(network.fc.weight)
model = pellucid.Model(
    network,
    labels=["circle", "square", "triangle"],
    preprocess=pellucid.Preprocess((64, 64), scale_to=64),
)
e = pellucid.explain(model, pictures, "grad-cam", target="circle")
for name, one in zip(e.names, e.prediction, strict=True):
    print(name, one[0].label, f"{one[0].probability:.0%}")
e.save("own_resnet.png")
