"""Every operation of a converted TF.js model against TF.js itself, on one image.

    npm install --prefix /tmp/tfjs @tensorflow/tfjs@4
    python benchmarks/tfjs_conversion.py package/models/centernet.json IMAGE --modules /tmp/tfjs/node_modules

Both compute every node of the graph on the same pixels. The table shows the largest difference of each kind of
operation, as a share of the largest value of that node (of 1 where that is smaller). Target: below 1e-4. Equal, and
what reads it up to the choice of the best boxes, is left out: whether two neighbours are equal hangs on the last digit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx

from diptych.core.protocols import Preprocess
from diptych.data.images import decode, prepare
from diptych.encoders.detectors.tfjs import convert
from diptych.encoders.onnx_session import start_session

REFERENCE = """
const fs = require('fs');
const [modules, model, folder] = process.argv.slice(2);
const tf = require(modules + '/@tensorflow/tfjs');
(async () => {
  const graph = JSON.parse(fs.readFileSync(model));
  const base = model.slice(0, model.lastIndexOf('/') + 1);
  const parts = graph.weightsManifest.flatMap(group => group.paths.map(path => fs.readFileSync(base + path)));
  const bytes = new Uint8Array(Buffer.concat(parts)).buffer;
  const weightSpecs = graph.weightsManifest.flatMap(group => group.weights);
  const stored = {modelTopology: graph.modelTopology, weightSpecs, weightData: bytes, signature: graph.signature};
  const loaded = await tf.loadGraphModel(tf.io.fromMemory(stored));
  const nodes = JSON.parse(fs.readFileSync(folder + '/nodes.json'));
  const pixels = new Float32Array(new Uint8Array(fs.readFileSync(folder + '/input.bin')).buffer);
  const results = loaded.execute(tf.tensor(pixels, nodes.shape), nodes.names);
  for (let i = 0; i < nodes.names.length; i++)
    fs.writeFileSync(`${folder}/${i}.bin`, Buffer.from(Float32Array.from(await results[i].data()).buffer));
})();
"""
_SKIPPED = ("Const", "Placeholder", "Equal")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--modules", type=Path, required=True)
    arguments = parser.parse_args()
    kinds = {node["name"]: node for node in json.loads(arguments.model.read_bytes())["modelTopology"]["node"]}
    proto = convert(arguments.model)
    written = {name for node in proto.graph.node for name in node.output}
    after_ties = {name for name, node in kinds.items() if node["op"] == "Equal"}
    while found := {
        name for name, node in kinds.items() if name not in after_ties and after_ties & set(node.get("input", []))
    }:
        after_ties |= found
    names = [
        name
        for name, node in kinds.items()
        if name in written and node["op"] not in _SKIPPED and name not in after_ties
    ]
    side = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    pixels = prepare(decode(arguments.image), Preprocess(side))[None].astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "nodes.json").write_text(json.dumps({"shape": pixels.shape, "names": names}))
        (place / "input.bin").write_bytes(pixels.tobytes())
        (place / "reference.js").write_text(REFERENCE)
        command = ["node", place / "reference.js", arguments.modules.resolve(), arguments.model.resolve(), place]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
        graph = place / "all.onnx"
        graph.write_bytes(onnx.shape_inference.infer_shapes(proto).SerializeToString())
        ours = start_session(graph).run(names, {proto.graph.input[0].name: pixels})
        theirs = [np.fromfile(place / f"{number}.bin", dtype=np.float32) for number in range(len(names))]
    worst: dict[str, tuple[float, int]] = {}
    for name, mine, reference in zip(names, ours, theirs, strict=True):
        difference = np.abs(np.ravel(mine).astype(np.float64) - reference).max() / max(1.0, np.abs(reference).max())
        before = worst.get(kinds[name]["op"], (0.0, 0))
        worst[kinds[name]["op"]] = (max(before[0], float(difference)), before[1] + 1)
    print("| operation | nodes | largest difference |\n| --- | ---: | ---: |")
    for kind, (difference, count) in sorted(worst.items()):
        print(f"| {kind} | {count} | {difference:.1e} |")
    print(f"\n{len(names)} of {len(kinds)} nodes compared, the largest difference {max(worst.values())[0]:.1e}")


if __name__ == "__main__":
    main()
