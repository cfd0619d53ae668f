"""After a purge nothing of what left is in the workspace, in whatever form; receipts and the list are."""

import dataclasses

from starsmith.govern.opt_out import Request
from starsmith.govern.verification import verify
from starsmith.workspace import collect_garbage, read_build, writing


def test_the_search_finds_what_is_there(removals, workspace):
    for word in (removals.MARKER, removals.OWNER, "pathmarker"):
        found = removals.found_in(workspace, word)
        assert {name.split("/")[0] for name in found} >= {"releases", "tables"}
    found = removals.found_in(workspace, removals.MARKER)
    assert [name for name in found if name.startswith("tables/contents/")]
    assert [name for name in found if name.startswith("tables/data/")]


def test_after_a_purge_nothing_is_left(removals, workspace, apply):
    (workspace / "tmp" / "spill").mkdir(parents=True, exist_ok=True)
    (workspace / "tmp" / "spill" / "old").write_text(removals.MARKER)
    old = removals.release_of(workspace)
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    applied = apply(workspace, purge=True)
    assert removals.found_in(workspace, removals.MARKER) == []
    for word in (removals.OWNER, "pathmarker"):
        assert {name.split("/")[0] for name in removals.found_in(workspace, word)} == {"receipts"} | (
            {"opt_outs"} if word == removals.OWNER else set()
        )
    assert [path.name for path in (workspace / "releases").iterdir()] == [removals.release_of(workspace).name]
    assert applied.purged.releases == (old.name,)
    assert applied.plain()["purged"]["releases"] == [old.name]
    assert f"/releases/{old.name}" in applied.words()
    (receipt,) = removals.receipts_of(workspace)
    assert receipt.purged
    assert verify(receipt, removals.release_of(workspace)).holds
    assert applied.plain()["receipts"] == [f"{workspace}/receipts/{receipt.id}.json"]


def test_a_purge_afterwards_gives_the_receipts_again(removals, repositories, workspace, apply, build_into):
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    apply(workspace)
    assert removals.found_in(workspace, removals.MARKER)
    (before,) = removals.receipts_of(workspace)
    apply(workspace, purge=True)
    assert removals.found_in(workspace, removals.MARKER) == []
    (after,) = removals.receipts_of(workspace)
    assert after == dataclasses.replace(before, purged=True)
    again = apply(workspace, purge=True)
    assert (again.purged.files, again.receipts) == (0, ())
    # A build from the sources, where everything still lies, brings nothing back.
    assert build_into(removals.recipe_of(repositories), workspace, workers=0).worked == 0
    assert removals.found_in(workspace, removals.MARKER) == []


def test_a_delta_that_holds_what_leaves_later_goes(removals, workspace, apply):
    """What returned with the first removal, and stands in its delta, leaves with the second."""
    removals.ask(workspace, Request(kind="repository", value=f"{removals.OWNER}/first"))
    first = apply(workspace).proof.delta
    removals.ask(workspace, Request(kind="owner", value="zz"))
    second = apply(workspace, purge=True).proof.delta
    assert not (workspace / first).exists()
    assert (workspace / second).exists()
    assert "shared.py" not in " ".join(removals.found_in(workspace / "tables", "kept/shared.py"))


def test_garbage_collection_leaves_proofs_and_withdrawn_releases(removals, workspace, apply):
    removals.ask(workspace, Request(kind="owner", value=removals.OWNER))
    apply(workspace)
    places = [workspace / name for name in ("receipts", "opt_outs", "releases")]
    before = [removals.files_of(place) for place in places]
    with writing(workspace) as store:
        files, _ = collect_garbage(store, read_build(store))
    assert files > 0
    assert [removals.files_of(place) for place in places] == before
