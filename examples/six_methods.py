"""Six methods on one picture, in a picture and a report: python examples/six_methods.py."""

import sys

import pellucid

methods = ["grad-cam", "layer-cam", "saliency", "lrp", "integrated-gradients:steps=8", "rise:samples=64"]
c = pellucid.compare(pellucid.load(), sys.argv[1] if len(sys.argv) > 1 else "sample:cat", methods)
for e in c:
    print(e.method, e.cost, f"{e.cost.seconds:.2f} s", *e.warnings)
c.save("six_methods.png")
c.save("six_methods.html")
