import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.evaluation.nearest import k_nearest


@given(seed=st.integers(0, 9999), k=st.integers(1, 12), own=st.booleans(), block=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_it_is_the_start_of_a_stable_sort(seed, k, own, block):
    generator = np.random.default_rng(seed)
    gallery = generator.integers(-2, 3, (10, 3)).astype(np.float32)  # whole numbers: many ties, all exact
    queries = gallery if own else generator.integers(-2, 3, (7, 3)).astype(np.float32)
    itself = np.arange(10) if own else None

    places, scores = k_nearest(queries, gallery, k, itself=itself, block_scores=block)

    for row, query in enumerate(queries):
        wanted = [at for at in np.argsort(-(gallery @ query), kind="stable") if not (own and at == row)][:k]
        assert places[row].tolist() == wanted
        assert scores[row].tolist() == (gallery @ query)[wanted].tolist()


def test_nothing_to_find_is_no_error():
    one = np.ones((1, 2), dtype=np.float32)
    assert k_nearest(one, one, 3, itself=np.array([0]))[0].shape == (1, 0)
