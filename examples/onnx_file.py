"""An ONNX file, whose input is a batch of 3 x 224 x 224: python examples/onnx_file.py MODEL.onnx [PICTURE].

It needs `pip install onnxruntime`, which Pellucid does not bring.
"""

import sys

import onnxruntime

import pellucid

session = onnxruntime.InferenceSession(sys.argv[1])
name = session.get_inputs()[0].name


def scores(batch):
    return session.run(None, {name: batch.numpy()})[0]


model = pellucid.Model(scores, preprocess=pellucid.Preprocess((224, 224), scale_to=256))
e = pellucid.explain(model, sys.argv[2] if len(sys.argv) > 2 else "sample:cat", "rise", samples=500)
e.save("onnx.png")
