from mta import ids


def test_ids_sort_in_the_order_they_were_made() -> None:
    made = [ids.new("msg", 5) for _ in range(2000)] + [ids.new("msg", 6)]
    assert made == sorted(made) and len(set(made)) == len(made)


def test_the_id_of_another_resource_between_them_changes_no_order() -> None:
    for _ in range(50):
        first, _, second = ids.new("evt", 5), ids.new("aud", 6), ids.new("evt", 5)
        assert first < second


def test_an_id_is_a_prefix_and_26_characters() -> None:
    prefix, _, rest = ids.new("evt").partition("_")
    assert prefix == "evt" and len(rest) == 26 and rest.isalnum() and rest == rest.lower()


def test_neighbours_of_one_millisecond_are_far_apart() -> None:
    first, second = (int(ids.new("x", 7)[2:], 36) for _ in range(2))
    assert second - first > 2**40
