# %% [markdown]
# # Look inside a model
#
# What a model sees of an image, which parts of an image and a text make them match, and how its space is laid out. On
# drawings made on the spot, without PyTorch.

# %%
import sys

sys.path.append("..")  # where tiny.py is

import numpy as np
from tiny import shapes

import diptych
from diptych.inspection import explain

folder = shapes()
model = diptych.load("base")
print(model.preprocess)

# %% [markdown]
# ## What makes them match
#
# Words are left out and regions covered, one after the other; what the cosine loses is how much the part matters.

# %%
found = explain(model, folder / "red-circle-60.png", "a red circle", grid=4)
print(f"cosine {found.score:.3f}")
for word, drop in zip(found.words, found.word_drops, strict=True):
    print(f"without {word!r} it loses {drop:+.3f}")
print(np.round(found.regions, 3))  # (4, 4): what each covered region takes away

# %% [markdown]
# ## How the space is laid out
#
# Images and texts of one model form two groups: the mean image and the mean text lie apart. What counts is who is
# nearest among the other kind.

# %%
files = sorted(folder.glob("*-60.png"))
texts = [f"a {' '.join(file.stem.split('-')[:2])}" for file in files]
images, words = model.encode_images(files), model.encode_texts(texts)
print("distance of the two means:", round(float(np.linalg.norm(images.mean(0) - words.mean(0))), 3))
scores = model.similarity(images=images, texts=words)
right = scores.argmax(axis=1) == np.arange(len(files))
print(f"{right.sum()} of {len(files)} drawings are nearest to their own text")

# %% [markdown]
# ## Which directions carry the colour
#
# The mean vector of all drawings of a colour, less the mean of all, points along that colour. Texts of most colours lie
# along it too, though no text was used to find it: what images and texts have in common is a direction, not a place.

# %%
names = [file.stem.split("-")[0] for file in files]
for colour in sorted(set(names)):
    own = np.array([name == colour for name in names])
    axis = images[own].mean(0) - images.mean(0)
    along = (words - words.mean(0)) @ axis
    print(f"{colour:7} its own texts {along[own].mean():+.3f}, all others {along[~own].mean():+.3f}")
