"""Placing the objects of the saved heap by what a rehearsal writes to and reads."""

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


def trace(*grains: int, read: tuple[int, ...] = ()) -> str:
    """What tracing.c prints for a stage."""
    return "".join(
        f"{grain} {'written' if grain in grains else 'read'}\n" for grain in sorted({*grains, *read})
    )


def test_an_object_is_placed_for_a_write_to_any_of_its_grains() -> None:
    table = owners((0, 7, 48), (3, 9, 16), (10, 4, 40))
    assert plan_layout(table, [trace(2), trace(12)], Layout()).regions() == [{7: 48}, {4: 40}]


def test_accesses_between_objects_are_the_allocators_business() -> None:
    table = owners((4, 7, 20))
    assert plan_layout(table, [trace(0, 6, read=(3, 63)), ""], Layout()).regions() == []


def test_what_every_command_writes_to_lies_apart_from_the_rest() -> None:
    table = owners((0, 7, 16), (1, 9, 16))
    assert plan_layout(table, [trace(1), trace(0, 1)], Layout()).regions() == [{9: 16}, {7: 16}]
    assert plan_layout(table, [trace(0), trace(1)], Layout({7: (16, 2)})).regions() == [{7: 16}, {9: 16}]


def test_what_stages_share_lies_before_what_is_of_one_alone() -> None:
    table = owners((0, 7, 16), (1, 9, 16), (2, 11, 16), (3, 13, 16))
    layout = plan_layout(table, [trace(3), trace(0, 1), trace(1, 2)], Layout())
    assert layout.regions() == [{13: 16}, {9: 16}, {7: 16}, {11: 16}]


def test_what_is_only_read_lies_behind_what_is_written_to_by_whom_it_is_read() -> None:
    table = owners((0, 7, 32), (2, 9, 16), (3, 11, 16), (4, 13, 16))
    layout = plan_layout(table, [trace(1, read=(0, 3)), trace(read=(2, 3, 4))], Layout())
    assert layout.regions() == [{7: 32}, {11: 16}, {9: 16, 13: 16}]


def test_an_object_that_another_stage_writes_to_is_no_neighbour_of_those_that_are_only_read() -> None:
    table = owners((0, 7, 16), (1, 9, 16))
    layout = plan_layout(table, [trace(read=(0, 1)), trace(0)], Layout())
    assert layout.regions() == [{7: 16}, {9: 16}]


def test_large_objects_do_not_stand_between_small_ones_that_are_read() -> None:
    table = owners((0, 7, 16), (1, 9, 8000), (501, 11, 16), grains=600)
    layout = plan_layout(table, [trace(read=(0, 400, 501))], Layout())
    assert layout.regions() == [{7: 16, 11: 16}, {9: 8000}]


def test_a_second_look_adds_to_the_first() -> None:
    layout = plan_layout(owners((0, 7, 16)), [trace(0), ""], Layout({3: (100, 1), 5: (8, 2)}))
    assert layout.regions() == [{3: 100, 7: 16}, {5: 8}]
    assert layout.encode() == bytes([0, 0, 0, 1, 0, 2, 0, 1])


def test_a_region_has_room_for_headers_and_alignment() -> None:
    placed = dict.fromkeys(range(1, 201), (40, 1)) | {201: (1, 2)}
    assert Layout(placed).sizes() == [200 * 48 + 16, 32]
