# %% [markdown]
# # Explore a data set
#
# What is in a source of pairs, what would mislead a training, and which texts do not belong to their image. The data
# are 60 drawings of OpenMoji (CC BY-SA 4.0) with their names; your own table goes in the place of `table`. It needs
# `pip install '.[demo]'` for the drawings, and no PyTorch.

# %%
import csv
import shutil
from pathlib import Path

import numpy as np

import diptych
from diptych.data.doctor import check
from diptych.data.emoji import EmojiSettings, make_emoji

make_emoji(Path("emoji"), EmojiSettings(limit=60, languages=("en",)))
named = {pair.texts[0].value: pair.images[0].path for pair in diptych.open_source("emoji")}
print(len(named), "drawings:", ", ".join(list(named)[:8]), "...")

# %% [markdown]
# ## Spoil it a little
#
# A real data set has faults. Here are four, so that there is something to find: two names change places, one drawing is
# there twice under different names, and one file is no image.

# %%
named["turtle"], named["church"] = named["church"], named["turtle"]
named["slow animal"] = Path(shutil.copy(named["church"], "emoji/copy.png"))
named["nothing"] = Path("emoji/broken.png")
named["nothing"].write_bytes(b"this is no image")
table = Path("table.csv")
with table.open("w", newline="", encoding="utf-8") as stream:
    csv.writer(stream).writerows([("image", "caption"), *((path, name) for name, path in named.items())])

# %% [markdown]
# ## What the doctor says
#
# `diptych data check table.csv` prints the same. It reads every image and text once.

# %%
print(check(diptych.open_source(table)).to_text())

# %% [markdown]
# ## Which texts do not fit
#
# The shipped model gives each image and each text a vector. Each image's own text is compared with all others: where
# another text is much nearer, the pair may be wrong. It may also be one that the model does not know.

# %%
model = diptych.load("base")
names = [name for name in named if name != "nothing"]
scores = model.similarity(
    images=model.encode_images([named[name] for name in names]), texts=model.encode_texts(names)
)  # (60 + 1, 60 + 1): cosines
lead = scores.max(axis=1) - scores.diagonal()
for place in np.argsort(-lead)[:4]:
    nearer = names[scores[place].argmax()]
    print(f"{named[names[place]].name:14} says {names[place]!r}; {nearer!r} is nearer by {lead[place]:.2f}")

# %% [markdown]
# The church that is called a turtle is among the four. The turtle that is called a church is not, and three right names
# are: `base` does not know these drawings well.
#
# On real data `diptych data filter` does this with a threshold that is calibrated on the source itself.
