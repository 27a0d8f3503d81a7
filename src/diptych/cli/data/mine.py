"""`diptych data mine`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from diptych.cli.outputs import JSON_LINES, check_file
from diptych.cli.shared import Common, ModelAddress
from diptych.cli.sources import Reading
from diptych.core.errors import DataError
from diptych.data.readers import SourceOptions, open_source

if TYPE_CHECKING:
    from diptych.data.mined import MinedRecord


def mine(
    source: str,
    /,
    *,
    out: Path,
    model: ModelAddress = "base",
    options: Reading = SourceOptions(),
    k: Annotated[int, Parameter(name=("--k", "-k"))] = 10,
    margin: float = 0.2,
    guard: float = 0.1,
    text_guard: float = 0.85,
    common: Common = Common(),
) -> None:
    """Find hard negatives: for each record, the wrong ones that a trained model finds most similar.

    Writes JSON lines, a record each, hardest first, for training to put into one batch. Records of
    the same class, with nearly the same text, or matching better than the true pair by more than
    --guard are left out: they may match after all.

    Examples:
        diptych data mine flickr8k/ --split train --out mined.jsonl
        diptych data mine pairs.csv --model runs/mine/model --k 20 --margin 0.3 --guard 0.05 --out mined.jsonl

    Args:
        source: File or folder of pairs.
        out: The file to write, NAME.jsonl; one that is there is replaced.
        k: Negatives a record, at most.
        margin: How far, in cosine, a wrong match may stay below the right one and still count as hard.
        guard: How far, in cosine, it may come above the right one and still count as wrong.
        text_guard: Cosine between texts from which two records are taken to say the same.
    """
    import numpy as np

    from diptych import evaluation
    from diptych.data.mined import MinedRecord, images_of, write_mined
    from diptych.data.repeats import joined_labels
    from diptych.evaluation.mining import MiningSettings
    from diptych.evaluation.mining import mine as mined
    from diptych.models import load, require_cosine
    from diptych.models.embed import embed_pairs

    check_file(out, "--out", JSON_LINES, source)
    settings = MiningSettings(k, margin, guard, text_guard)
    encoder = load(model, device=common.device)
    require_cosine(encoder, "mining")
    opened = open_source(source, options)
    progress = common.progress()
    pairs = list(opened)
    vectors = embed_pairs(encoder, pairs, progress=progress)
    opened.notes.extend([*encoder.unfamiliar(vectors.images), *encoder.cut_texts(vectors.values)])
    if not len(vectors.images):
        raise DataError(f"{opened.name} has no readable image with a text; there is nothing to mine")
    labels = evaluation.group_labels(vectors.groups) if any(vectors.groups) else np.arange(len(vectors.places))
    # records with an image in common are no negatives
    labels = joined_labels(labels, vectors.keys, vectors.image_owner)
    keys = [pairs[place].identity for place in vectors.places]
    images = images_of(vectors.image_owner, vectors.keys)
    counts = Counter(negatives=0, guarded=0, without=0)

    def records() -> Iterator["MinedRecord"]:
        sides = vectors.images, vectors.texts, vectors.owner
        for one in mined(*sides, settings, image_owner=vectors.image_owner, labels=labels, progress=progress):
            counts.update(negatives=len(one.others), guarded=one.guarded, without=int(not len(one.others)))
            others = tuple(keys[other] for other in one.others)
            yield MinedRecord(keys[one.record], images[one.record], others, tuple(one.gaps.tolist()))

    about = {
        "model": encoder.name,
        "model_fingerprint": encoder.fingerprint,
        "source": opened.name,
        "split": options.split,
        **asdict(settings),
    }
    written = write_mined(out, records(), about)
    found = about | {
        "records": written,
        **counts,
        "skipped": len(vectors.skipped),
        "without_texts": vectors.without_texts,
        "file": str(out),
    }
    text = (
        f"{counts['negatives']:,} hard negatives for {written:,} records ({counts['without']:,} have none); "
        f"{counts['guarded']:,} left out as perhaps no negatives"
    )
    if vectors.skipped:
        text += f"\n{len(vectors.skipped):,} images left out as unreadable, the first: {vectors.skipped[0].name}"
    if vectors.without_texts:
        text += f"\nleft out as without a text: {vectors.without_texts:,} of the records"
    text += f"\n{out}"
    common.show(found, text, opened.notes)
