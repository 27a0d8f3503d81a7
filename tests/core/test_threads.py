"""Work in threads stays in order and a bounded number of items ahead."""

import threading

from diptych.core.threads import map_ahead


def test_results_come_in_order_and_few_items_are_taken_ahead():
    taken = []
    results = map_ahead(str, (taken.append(n) or n for n in range(20)), workers=3, depth=4, name="test")
    assert next(results) == "0"
    assert taken == [0, 1, 2, 3]
    assert list(results) == [str(number) for number in range(1, 20)]


def test_closing_stops_the_threads():
    results = map_ahead(str, iter(int, 1), workers=2, depth=4, name="closed")
    assert next(results) == "0"
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("diptych-closed")]
