"""Placing the objects of the saved heap by what a rehearsal writes to."""

import sys
from array import array

sys.path.insert(0, "startup")

from heap_layout import Layout, plan_layout


def owners(*blocks: tuple[int, int, int], grains: int = 64) -> bytes:
    """The table of placement.c for blocks given as (grain, allocation, bytes)."""
    table = array("I", bytes(8 * grains))
    for grain, allocation, size in blocks:
        table[2 * grain], table[2 * grain + 1] = allocation, size
    return table.tobytes()


def test_an_object_is_placed_for_a_write_to_any_of_its_grains() -> None:
    table = owners((0, 7, 48), (3, 9, 16), (10, 4, 40))
    assert plan_layout(table, [[2], [12]], Layout()).regions() == [{7: 48}, {4: 40}]


def test_writes_between_objects_are_the_allocators_business() -> None:
    table = owners((4, 7, 20))
    assert plan_layout(table, [[0, 6, 63], []], Layout()).regions() == []


def test_what_every_command_writes_to_lies_apart_from_the_rest() -> None:
    table = owners((0, 7, 16), (1, 9, 16))
    assert plan_layout(table, [[1], [0, 1]], Layout()).regions() == [{9: 16}, {7: 16}]
    assert plan_layout(table, [[0], [1]], Layout({7: (16, 2)})).regions() == [{7: 16}, {9: 16}]


def test_what_stages_share_lies_before_what_is_of_one_alone() -> None:
    table = owners((0, 7, 16), (1, 9, 16), (2, 11, 16), (3, 13, 16))
    layout = plan_layout(table, [[3], [0, 1], [1, 2]], Layout())
    assert layout.regions() == [{13: 16}, {9: 16}, {7: 16}, {11: 16}]


def test_a_second_look_adds_to_the_first() -> None:
    layout = plan_layout(owners((0, 7, 16)), [[0], []], Layout({3: (100, 1), 5: (8, 2)}))
    assert layout.regions() == [{3: 100, 7: 16}, {5: 8}]
    assert layout.encode() == bytes([0, 0, 0, 1, 0, 2, 0, 1])


def test_a_region_has_room_for_headers_and_alignment() -> None:
    placed = dict.fromkeys(range(1, 201), (40, 1)) | {201: (1, 2)}
    assert Layout(placed).sizes() == [200 * 48 + 16, 32]
