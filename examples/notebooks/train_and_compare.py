# %% [markdown]
# # Train and compare
#
# Fit the shipped model to pairs of your own, see whether that helped, and search with the result. The data are 48
# drawings made on the spot. It needs PyTorch: `pip install '.[train]'`.

# %%
import sys

sys.path.append("..")  # where tiny.py is

from tiny import shapes

import diptych

folder = shapes()
source = str(folder / "pairs.csv")

# %% [markdown]
# ## Before
#
# The model has seen none of these drawings, so all are measured. The training below will hold out a quarter of them.

# %%
before = diptych.evaluate("base", source, resamples=100)
print(before)

# %% [markdown]
# ## Train
#
# Both towers stay frozen; their features are computed once. What learns are two small heads, which begin as those of
# the shipped model.

# %%
config = {
    "name": "drawings",
    "init": "base",
    "image": {"tower": "model:base"},
    "text": {"tower": "model:base"},
    "loss": {"name": "info_nce", "temperature": 0.05},
    "data": {"val_share": 0.25},
    "training": {"epochs": 5, "batch_size": 36, "learning_rate": 5e-4, "tensorboard": False},
}
run = diptych.train(config, source, "runs/drawings", seed=1)
print(run.records["train"], "records trained on;", run.scores)

# %% [markdown]
# ## Compare
#
# Each model is measured on the records that the training held out, with intervals and the difference to the first. So
# few records give wide intervals: read those before the numbers.

# %%
print(diptych.compare(["base", run.model], source).table(["R@1", "R@5", "rsum"]))

# %% [markdown]
# ## Search with it

# %%
library = diptych.Library.create("drawings.library", run.model)
library.index([folder])
for hit in library.search("ein roter Kreis", k=3):
    print(f"{hit.score:.3f}  {hit.path}")
