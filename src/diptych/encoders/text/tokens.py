"""Token ids as a tower's rows: the input of the text networks that are trained here.

A tokenizer is a frozen tower like any other: texts in, one row of ids each, cached by content. The
network above it (`diptych.models.networks`) is what learns. Runs on the `tokenizers` package alone, and
a "wordpiece" that was trained here without it too.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from diptych.core import fingerprint
from diptych.core.checks import at_least
from diptych.core.config import unknown
from diptych.core.errors import DataError, MissingExtraError, ModelError
from diptych.core.extras import need
from diptych.core.registry import register
from diptych.core.shapes import Int32
from diptych.encoders.hub import hub_folder
from diptych.encoders.inputs import clean
from diptych.encoders.text.pieces import learn_pieces
from diptych.encoders.text.rules import TextRules, read_rules
from diptych.encoders.text.word_pieces import END, OPTIONAL_MARKS, START, UNKNOWN, WITHOUT_SPACES, WordPieces

FILE = "tokenizer.json"
PADDING = -1  # marks the places after a text's last token, whatever the tokenizer's own padding is
KINDS = ("words", "wordpiece")


class TokenTower:
    """Texts to rows of `max_tokens` token ids, -1 where the model sees no token.

    `source` is a folder with a tokenizer.json (as transformers saves it), that file, or a tokenizer made by
    `train_tokenizer`, which is the tower's own from then on. The largest id is below `vocabulary`. `rules` say what
    surrounds the tokenizer; those of a pretrained model come from `diptych.encoders.text.portable`. Unless they fill
    the rows, a text without a single token becomes one unknown token, so that no row is empty.

    Raises ModelError when there is no tokenizer, MissingExtraError without the package `tokenizers` where it is needed.
    """

    storage = "int32"

    def __init__(
        self,
        source: str | Path | Any,
        max_tokens: int = 64,
        languages: Iterable[str] = (),
        *,
        rules: TextRules = TextRules(),  # noqa: B008 (frozen)
    ) -> None:
        at_least("max_tokens", max_tokens, 2)
        self._tokenizer = _read(source) if isinstance(source, str | Path) else source
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens - (rules.last >= 0))  # keeps the closing token, if there is one
        self.max_tokens: int | None = max_tokens
        self.dim = max_tokens
        self.languages = frozenset(languages)
        self.rules = rules

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def word_ids(self) -> dict[str, int]:
        """The id of each word, or piece of one, in their order; special tokens are left out."""
        ids = {word: int(number) for word, number in self._tokenizer.get_vocab().items()}
        return {word: ids[word] for word in sorted(ids, key=ids.__getitem__) if word not in (UNKNOWN, START, END)}

    @property
    def pad(self) -> int:
        """The id that a pretrained model is given where a row says -1; what it gives there does not matter."""
        return self.rules.pad

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the tokenizer, of what surrounds it and of the length of a row."""
        stated = self.rules.stated()
        return fingerprint.of_json(["tokens", self._whole.to_str(), self.dim, *([stated] if stated else [])])

    def embed(self, texts: Sequence[str]) -> Int32[np.ndarray, "b l"]:
        """Ids of each text, cleaned and cut at `max_tokens`; the rest of a row is -1, or the model's own padding."""
        filler = self.rules.pad if self.rules.full_length else PADDING
        rows = np.full((len(texts), self.dim), filler, dtype=np.int32)
        for row, ids in zip(rows, self._ids(self._tokenizer, texts), strict=True):
            if not ids and not self.rules.full_length:
                ids = [self._unknown]
            row[len(row) - len(ids) if self.rules.pad_left else 0 :][: len(ids)] = ids
        if self.rules.last >= 0:
            rows[:, -1] = self.rules.last
        return rows

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, special ones counted, before any cut."""
        return [len(ids) + (self.rules.last >= 0) for ids in self._ids(self._whole, texts)]

    def words(self, text: str) -> list[str]:
        """The tokens of a text as they would be read, after the cut."""
        return list(self._tokenizer.encode(self.rules.prepare(text)).tokens)

    def word_places(self, text: str) -> list[tuple[str, list[int]]]:
        """The words of a text as far as they are read, each with the places of its tokens in a row of `embed`.

        Tokens that stand for no word, such as the first and the last, are left out.
        """
        prepared = self.rules.prepare(text)
        encoding = self._tokenizer.encode(prepared)
        first = self.dim - len(encoding.ids) if self.rules.pad_left else 0
        spans: dict[int, tuple[int, int]] = {}
        places: dict[int, list[int]] = {}
        for place, (word, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True), first):
            if word is not None and end > start:
                spans[word] = (spans[word][0] if word in spans else start, end)
                places.setdefault(word, []).append(place)
        return [(prepared[slice(*spans[word])].strip(), found) for word, found in places.items()]

    def save(self, folder: Path) -> str:
        """Write the tokenizer into a folder; the file's name."""
        about = {"max_tokens": self.dim, "languages": sorted(self.languages), **self.rules.stated()}
        (folder / FILE).write_text(json.dumps(json.loads(self._whole.to_str()) | {"diptych": about}), encoding="utf-8")
        return FILE

    def _ids(self, tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
        replaced = dict(self.rules.replaced)
        for encoding in tokenizer.encode_batch([self.rules.prepare(text) for text in texts]):
            ids: list[int] = encoding.ids
            if self.rules.closing_once and ids[-2:-1] == ids[-1:]:
                ids = ids[:-1]
            yield [replaced.get(number, number) for number in ids] if replaced else ids

    @cached_property
    def _whole(self) -> Any:
        """The tokenizer without the cut; few ask for it, and a large vocabulary takes a second to copy."""
        whole = copy.deepcopy(self._tokenizer)
        whole.no_truncation()
        return whole

    @cached_property
    def _unknown(self) -> int:
        found = (self._tokenizer.token_to_id(token) for token in (UNKNOWN, "<unk>"))
        return next((int(number) for number in found if number is not None), 0)


def read_tokens(folder: Path) -> TokenTower:
    """The tower that `TokenTower.save` wrote. Raises ModelError when the file is not one of ours."""
    path = folder / FILE
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        about = described.pop("diptych")
        length, languages = int(about.pop("max_tokens")), about.pop("languages")
        return TokenTower(_made(described, path), length, languages, rules=read_rules(about))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is no tokenizer of a Diptych model ({error}); copy the whole folder again") from error


@register.text_tower("tokens", "token ids of a tokenizer, below a network of its own", arguments=("NAME_OR_FOLDER",))
def token_tower(source: str, *, max_tokens: int | None = None, languages: Iterable[str] = ()) -> TokenTower:
    """The ids of a tokenizer, or those of a joint model's text side.

    `source` is a folder with a tokenizer.json, or a name in the cache: `max_tokens` is 64 unless it says otherwise.
    Or the address of a joint model ("hf:FOLDER", "open_clip:ViT-B-32/TAG"): the ids, the length and the padding are
    the model's own. Raises ModelError for a tokenizer that is not here, or that does not run without its library.
    """
    from diptych.encoders.joint import is_joint, joint_model
    from diptych.encoders.text.portable import portable_tokens

    if is_joint(source):
        return portable_tokens(joint_model(source, device="cpu").text, max_tokens, languages)
    return TokenTower(source, 64 if max_tokens is None else max_tokens, languages)


def train_tokenizer(
    texts: Iterable[str],
    kind: str = "words",
    *,
    vocabulary: int = 30_000,
    min_count: int = 2,
    lower_case: bool = True,
) -> Any:
    """A tokenizer whose vocabulary comes from these texts, which should be of the training split alone.

    Args:
        texts: what to learn from.
        kind: "words" (split at spaces and punctuation, punctuation dropped, as bag of words and GRU take
            them) or "wordpiece" (pieces of words between a [CLS] and a [SEP], as BERT takes them).
        vocabulary: largest number of tokens.
        min_count: a word that is rarer is unknown (words), or split into pieces (wordpiece).
        lower_case: lower case all. "wordpiece" also drops the accents of Latin, Greek and Cyrillic letters, as BERT
            does, and the vowel signs of Hebrew and Arabic ones; marks of other scripts stay.

    In "wordpiece" every Chinese character is a word of its own, as in BERT, and so is each run of hiragana or katakana.

    Raises DataError when no word is left.
    """
    tokenizers = need("tokenizers", "a tokenizer")
    if kind not in KINDS:
        raise unknown("tokenizer", kind, KINDS)
    at_least("vocabulary", vocabulary, 10)
    at_least("min_count", min_count, 1)
    make = _words if kind == "words" else _wordpiece
    made = make(tokenizers, (clean(text) for text in texts), vocabulary, min_count, lower_case)
    special = 1 if kind == "words" else 3
    if made.get_vocab_size() <= special:
        raise DataError(f"no word occurs {min_count} times in the training texts; lower min_count, or add texts")
    if kind == "wordpiece":
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{START} $A {END}",
            special_tokens=[(token, made.token_to_id(token)) for token in (START, END)],
        )
    return made


@register.text_tower("words", "words of the training texts, below a network of its own", trained=True)
@register.text_tower("wordpiece", "pieces of words of the training texts, below a network of its own", trained=True)
def trained_tower(
    tokenizer: str,
    training_texts: Callable[[], Iterable[str]],
    training_languages: Iterable[str] = (),
    *,
    max_tokens: int = 64,
    vocabulary: int = 30_000,
    min_count: int = 2,
    lower_case: bool = True,
) -> TokenTower:
    """A tower over a tokenizer ("words" or "wordpiece") that is trained now; see `train_tokenizer`."""
    made = train_tokenizer(
        training_texts(), tokenizer, vocabulary=vocabulary, min_count=min_count, lower_case=lower_case
    )
    return TokenTower(made, max_tokens, training_languages)


def _words(tokenizers: Any, texts: Iterable[str], vocabulary: int, min_count: int, lower_case: bool) -> Any:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token=UNKNOWN))
    if lower_case:
        made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[^\p{L}\p{M}\p{N}']+"), behavior="removed")
    trainer = tokenizers.trainers.WordLevelTrainer(
        vocab_size=vocabulary, min_frequency=min_count, special_tokens=[UNKNOWN], show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return made


def _wordpiece(tokenizers: Any, texts: Iterable[str], vocabulary: int, min_count: int, lower_case: bool) -> Any:
    """Learnt by `learn_pieces`, because the library's own trainer gives other pieces in each run."""
    normalizer = tokenizers.normalizers.BertNormalizer(lowercase=lower_case, strip_accents=False)
    if lower_case:
        of = tokenizers.normalizers
        unmarked = of.Replace(tokenizers.Regex(OPTIONAL_MARKS), "")
        normalizer = of.Sequence([of.NFD(), unmarked, of.NFC(), normalizer])
    cut = tokenizers.pre_tokenizers.Split(tokenizers.Regex(WITHOUT_SPACES), behavior="isolated")
    splitter = tokenizers.pre_tokenizers.Sequence([tokenizers.pre_tokenizers.BertPreTokenizer(), cut])
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    special = [UNKNOWN, START, END]
    pieces = [*special, *learn_pieces(counts, vocabulary - len(special), min_count)]
    ids = {piece: number for number, piece in enumerate(pieces)}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token=UNKNOWN))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    made.decoder = tokenizers.decoders.WordPiece()
    made.add_special_tokens(special)
    return made


def _read(source: str | Path) -> Any:
    path = Path(source)
    if not path.exists() and isinstance(source, str):
        path = hub_folder(source)
    file = path / FILE if path.is_dir() else path
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
        described.pop("diptych", None)
    except OSError as error:
        raise ModelError(f"no tokenizer at {file}; expected a tokenizer.json, as transformers saves it") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{file} is no tokenizer: {error}") from error
    return _made(described, file)


def _made(described: dict[str, Any], file: Path) -> Any:
    """The tokenizer that a tokenizer.json describes. Raises ModelError when it describes none."""
    try:
        return need("tokenizers", "a tokenizer").Tokenizer.from_str(json.dumps(described))
    except MissingExtraError:
        if WordPieces.reads(described):
            return WordPieces(described)
        raise
    except Exception as error:  # the package raises plain Exception
        raise ModelError(f"{file} is no tokenizer: {str(error).splitlines()[0]}") from error
