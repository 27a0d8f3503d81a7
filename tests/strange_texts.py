"""200 texts on which tokenizers differ: long, empty, 30 languages, emoji, right to left, broken letters, control."""

from __future__ import annotations

import random

LANGUAGES = [
    "a dog runs along the beach", "ein Hund läuft über den großen Strand", "un chien court sur la plage, à côté",
    "un perro corre por la playa; ¿dónde?", "un cane corre sulla spiaggia", "um cão corre na praia à tarde",
    "een hond rent over het strand", "en hund løber på stranden", "en hund springer på stranden, på ön",
    "koira juoksee rannalla, yöllä", "pies biegnie po plaży, żółty", "pes běží po pláži, příliš žluťoučký",
    "a kutya fut a tengerparton, őszi tűz", "câinele aleargă pe plajă, țărm și apă", "ένας σκύλος τρέχει στην παραλία",
    "собака бежит по пляжу, ёлка", "собака біжить пляжем, їжак і ґанок", "куче тича по плажа",
    "köpek sahilde koşuyor, ığdır",
    "كلب يركض على الشاطئ", "الكَلْبُ يَرْكُضُ ١٢٣", "کلب ساحل پر دوڑتا ہے", "סוס רץ על החוף", "שָׁלוֹם לְכֻלָּם",
    "एक कुत्ता समुद्र तट पर दौड़ता है", "একটি কুকুর সৈকতে দৌড়াচ্ছে", "ஒரு நாய் கடற்கரையில் ஓடுகிறது", "สุนัขวิ่งบนชายหาด",
    "một con chó chạy trên bãi biển", "一只狗在海滩上奔跑",
    "一隻狗在海灘上奔跑，白色的。", "犬が浜辺を走っている", "개가 해변을 달린다",
    "ძაღლი სანაპიროზე დარბის", "շունը վազում է ծովափին", "ውሻ በባህር ዳርቻ ይሮጣል", "ఒక కుక్క", "mbwa anakimbia ufukweni",
]  # fmt: skip
EMOJI = ["🐶", "🙂 smile", "👩‍👩‍👧‍👦 family", "🇩🇪🇫🇷", "👍🏽 ok", "❤️", "a🐱b", "☕️ café", "①②③ ½ ¾", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ℌ"]
SPACES = [
    "", " ", "   ", "\n", "\t \n", "  two  dogs ", "a\nb\r\nc", "a\tb", "\u3000wide\u3000", "a\u00a0b", "a\u200bb",
    "\ufeffa", "a\u2028b", "a\u2029b", "a\x85b", "\x1c a \x1f b", "\x0ba\x0c", "soft\u00adhyphen", "a b  c   d    e",
    "\u2003",
]  # fmt: skip
CONTROL = [
    "a\0b",
    "\0",
    "\x01\x02a",
    "\x1b[31mred\x1b[0m",
    "\x7f",
    "\ud800",
    "a\udfff b",
    "\ud83d\ude00",
    "\ufffd",
    "\uffff",
]
CASES = [
    "A DOG", "ÄÖÜ ẞ ß", "İstanbul I ı", "ΟΔΟΣ ΣΑΣ", "Ǆ ǅ ǆ", "ﬁne ﬂow", "ＦＵＬＬ ｗｉｄｔｈ", "Å Å", "K K",
    "ſs 'ſ it'S",
    "e\u0301 é", "a\u0308\u0323 \u1e05", "กำ", "각 각", "Ω Ω", "…", "“quoted” ‘text’", "don't won't I'll we've he'd",
    "state-of-the-art", "snake_case_word", "C++ & C# @home #tag", "3.14 1,000 10% $5 €7 №8", "!!!???...",
    "(a) [b] {c} <d>",
    "a/b\\c|d", "http://example.org/a?b=c&d=e#f", "me@example.org", "~`^*_+=", "日本のＡ！？", "a,b;c:d",
]  # fmt: skip
BROKEN = [
    "cafÃ©", "naÃ¯ve â€œquotesâ€\x9d", "&amp; &lt;b&gt; &quot;", "&amp;amp;lt;", "&eacute;t&eacute;",
    "&#233; &#x1F436; &#0;",
    "<b>bold</b> &copy;", "ÐŸÑ€Ð¸Ð²ÐµÑ‚", "ï»¿bom", "Ã¼ber\nÃ¤hnlich", "l’humanitÃ©", "ðŸ˜€ smile", "Â£5 Â©",
    "\x93smart\x94",
]  # fmt: skip
SPECIAL = [
    "<|startoftext|> a <|endoftext|>", "<start_of_text> a <end_of_text> b", "[CLS] a [SEP] b [PAD] [UNK] [MASK]",
    "<s> a </s>", "a </s>", "a</s></s>", "<unk> a<unk>b", "<pad> a <pad>", "<bos>a<eos>", "▁a ▁▁b▁", "a ▁", "##ing ##s",
    "</w>",
    "<mask> a", "<0x41>", "<extra_id_0>", "a\u2581b",
]  # fmt: skip
LONG = [
    "dog " * 100, "running dogs, " * 60, "x" * 300, "🐶" * 80, "狗" * 120, "über " * 90, "a" * 21 + " " + "b " * 90,
    "!" * 200,
    "собака " * 70, "supercalifragilisticexpialidocious " * 30, "1234567890" * 20, "a\n" * 90,
]  # fmt: skip


def _mixed(count: int) -> list[str]:
    """Pieces of the others, put together in a fixed random order."""
    drawn = random.Random(7)
    pieces = [word for text in [*LANGUAGES, *EMOJI, *CASES, *BROKEN] for word in text.split(" ")]
    return [drawn.choice(("", " ", ", ")).join(drawn.choices(pieces, k=drawn.randint(2, 12))) for _ in range(count)]


_MADE = [*LANGUAGES, *EMOJI, *SPACES, *CONTROL, *CASES, *BROKEN, *SPECIAL, *LONG]
TEXTS = [*_MADE, *_mixed(200 - len(_MADE))]
