"""Mirror and fidelity: the target ends as the source is, and nothing more is deleted than was meant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from tests import oracle
from tests.azurite import Azurite
from tests.e2e.conftest import Place
from tests.site import Agent, Job, Site, assert_same

Target = Path | ContainerClient
LATIN = os.fsdecode(b"latin-\xe4")


@pytest.fixture(params=["folder", "container"])
def target(request: pytest.FixtureRequest, place: Place, azurite: Azurite) -> Target:
    return place.target if request.param == "folder" else azurite.container()


def grow(folder: Path, *paths: str) -> None:
    """Make files, and folders where a path ends in a slash."""
    for path in paths:
        where = folder / path
        if path.endswith("/"):
            where.mkdir(parents=True)
        else:
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(os.fsencode(path) * 100)


def seen(target: Target) -> oracle.Seen:
    return oracle.folder(target) if isinstance(target, Path) else oracle.container(target)


def run(job: Job, status: str = "Succeeded") -> dict[str, Any]:
    """Start a job and see its run through."""
    job.start()
    ended = job.end()
    assert ended["status"] == status, (job.told(), ended)
    return ended


def counts(ended: dict[str, Any]) -> dict[str, int]:
    """The counters of a run that are not zero, with the deletions."""
    words = ("Scanned", "Transferred", "NoTransferNeeded", "Excluded", "Unsupported", "Failed")
    found = {word: int(ended.get(f"items{word}", 0)) for word in words}
    found["Deleted"] = int(ended["wherry"].get("itemsDeleted", 0))
    return {word: number for word, number in found.items() if number}


def change(job: Job, **wherry: object) -> None:
    """Change the options of a job."""
    job.site.admin.api.patch(job.path, {"properties": {"wherry": wherry}})


def codes(job: Job) -> dict[str, str]:
    """The status code of each item that has one to tell, by its path as the copy log shows it."""
    return {row["itemPath"]: row["statusCode"] for row in job.rows() if row["statusCode"] != "AZSM0000"}


def test_what_the_source_has_not_is_deleted_and_counted_apart(
    here: Site, agent: Agent, place: Place, target: Target
) -> None:
    grow(place.source, "a", "b", "gone", "stays/c", "stays/gone", "old/1", "old/2", "old/deep/3", "empty/")
    job = here.job(place.source, target, agent, copyMode="Mirror")
    assert counts(run(job)) == {"Scanned": 12, "Transferred": 12}
    assert_same(place.source, target)

    assert counts(run(job)) == {"Scanned": 12, "NoTransferNeeded": 12}

    (place.source / "gone").unlink()
    (place.source / "stays" / "gone").unlink()
    shutil.rmtree(place.source / "old")
    (place.source / "empty").rmdir()
    grow(place.source, "new")
    ended = run(job)
    assert counts(ended) == {"Scanned": 5, "Transferred": 1, "NoTransferNeeded": 4, "Deleted": 8}
    gone = {"gone", "stays/gone", "old", "old/1", "old/2", "old/deep", "old/deep/3", "empty"}
    assert {row["itemPath"] for row in job.rows(outcome="Deleted")} == gone
    assert_same(place.source, target)


def test_what_somebody_else_put_into_a_container_is_deleted(
    here: Site, agent: Agent, place: Place, azurite: Azurite
) -> None:
    grow(place.source, "a")
    container = azurite.container()
    for name in ("stranger", "some/where/stranger", "a.txt", "z"):
        container.upload_blob(name, b"not ours")

    ended = run(here.job(place.source, container, agent, copyMode="Mirror"))

    assert counts(ended) == {"Scanned": 1, "Transferred": 1, "Deleted": 4}
    assert_same(place.source, container)


def test_more_than_is_allowed_is_not_deleted(here: Site, agent: Agent, place: Place, target: Target) -> None:
    grow(place.source, "a", "gone/1", "gone/2")
    job = here.job(place.source, target, agent, copyMode="Mirror", wherry={"maxDelete": 2})
    run(job)
    shutil.rmtree(place.source / "gone")
    grow(place.source, "new")
    before = seen(target)

    ended = run(job, "Failed")

    assert ended["error"]["code"] == "AZSM1034"
    assert counts(ended) == {"Scanned": 2, "Transferred": 1, "NoTransferNeeded": 1}
    assert seen(target) == before | oracle.folder(place.source)
    change(job, maxDelete=3)
    assert counts(run(job)) == {"Scanned": 2, "NoTransferNeeded": 2, "Deleted": 3}
    assert_same(place.source, target)


def test_an_empty_source_asks_first(here: Site, agent: Agent, place: Place, target: Target) -> None:
    grow(place.source, "a", "folder/b")
    job = here.job(place.source, target, agent, copyMode="Mirror")
    run(job)
    (place.source / "a").unlink()
    shutil.rmtree(place.source / "folder")
    before = seen(target)

    ended = run(job, "Failed")

    assert (ended["error"]["code"], counts(ended)) == ("AZSM1006", {})
    assert seen(target) == before
    change(job, allowEmptySource=True)
    assert counts(run(job)) == {"Deleted": 3}
    assert seen(target) == {}


def test_another_source_is_not_taken_for_the_first(
    here: Site, agent: Agent, place: Place, target: Target
) -> None:
    grow(place.source, "a", "b")
    job = here.job(place.source, target, agent, copyMode="Mirror")
    run(job)
    before = seen(target)
    place.source.rename(place.source.with_name("unmounted"))
    grow(place.source, "b", "other")

    ended = run(job, "Failed")

    assert (ended["error"]["code"], counts(ended)) == ("AZSM1005", {})
    assert seen(target) == before
    change(job, acceptNewSource=True)
    run(job)
    assert_same(place.source, target)
    change(job)
    run(job)


def test_a_file_becomes_a_folder_and_a_folder_a_file(
    here: Site, agent: Agent, place: Place, target: Target
) -> None:
    grow(place.source, "first", "second/1", "second/deep/2", "third/", "beside")
    job = here.job(place.source, target, agent, copyMode="Mirror")
    run(job)
    (place.source / "first").unlink()
    shutil.rmtree(place.source / "second")
    (place.source / "third").rmdir()
    grow(place.source, "first/now/1", "second", "third")

    ended = run(job)

    # The target had one file in place of a folder, and two folders with three items in place of files.
    assert counts(ended) == {"Scanned": 6, "Transferred": 5, "NoTransferNeeded": 1, "Deleted": 6}
    assert_same(place.source, target)
    assert counts(run(job)) == {"Scanned": 6, "NoTransferNeeded": 6}


def test_without_mirror_another_kind_in_its_place_stays(
    here: Site, agent: Agent, place: Place, azurite: Azurite
) -> None:
    grow(place.source, "first", "second/1")
    grow(place.target, "first/kept", "second")
    before = oracle.folder(place.target)
    job = here.job(place.source, place.target, agent)

    ended = run(job, "Failed")

    assert ended["error"]["code"] == "AZSM1046"
    assert codes(job)["first"] == codes(job)["second"] == "AZSM2066"
    assert oracle.folder(place.target) == before


def test_what_is_excluded_stays_on_the_target(here: Site, agent: Agent, place: Place, target: Target) -> None:
    grow(place.source, "a", "private/kept", "gone", "folder/x.kept", "folder/gone")
    job = here.job(place.source, target, agent, copyMode="Mirror")
    run(job)
    whole = seen(target)
    shutil.rmtree(place.source / "private")
    for name in ("gone", "folder/x.kept", "folder/gone"):
        (place.source / name).unlink()
    grow(place.source, "source.kept")
    change(job, exclude=["*.kept", "private"])

    ended = run(job)

    assert counts(ended) == {"Scanned": 3, "NoTransferNeeded": 2, "Excluded": 1, "Deleted": 2}
    assert set(seen(target)) == set(whole) - {b"gone", b"folder/gone"}
    assert codes(job)["source.kept"] == "AZSM2001"


def strange(folder: Path) -> None:
    """Items of every kind, and names that trouble copiers."""
    grow(
        folder, "new\nline", "trailing blank ", " leading", LATIN, "🚢 ferry", "a#b?c%d&e+f", "back\\slash",
        "quo'te\"s", "e\u0301", "\u00e9", "CASE", "case", "deep /in side/x", "empty/", "hard", "-rf",
    )  # fmt: skip
    os.link(folder / "hard", folder / "deep " / "hard too")
    (folder / "link").symlink_to("no/where")
    (folder / "link to folder").symlink_to("empty")
    os.mkfifo(folder / "pipe")


def test_every_name_and_kind_into_a_folder(here: Site, agent: Agent, place: Place) -> None:
    strange(place.source)
    job = here.job(place.source, place.target, agent)

    ended = run(job)

    assert counts(ended) == {"Scanned": 22, "Transferred": 21, "Unsupported": 1}
    assert "cannot hold" in ended["warnings"][0]["message"]
    assert codes(job) == {"pipe": "AZSM2021"}
    (place.source / "pipe").unlink()
    assert_same(place.source, place.target)
    assert (place.target / "hard").samefile(place.target / "deep " / "hard too")
    assert counts(run(job)) == {"Scanned": 21, "NoTransferNeeded": 21}


def test_every_name_and_kind_into_a_container(
    here: Site, agent: Agent, place: Place, azurite: Azurite
) -> None:
    strange(place.source)
    container = azurite.container()
    job = here.job(place.source, container, agent)

    run(job)

    unsupported = {"pipe": "21"}
    unheld = {"new\\x0aline": "22", "latin-\\xe4": "22", "back\\\\slash": "22"}
    assert codes(job) == {path: f"AZSM20{code}" for path, code in (unsupported | unheld).items()}
    held = oracle.held_by_containers(place.source)
    for name in (b"new\nline", b"latin-\xe4", b"back\\slash"):
        del held[name]
    assert oracle.container(container) == held
    marker = container.get_blob_client("empty").get_blob_properties()
    assert (marker.size, marker.metadata["hdi_isfolder"]) == (0, "true")
    assert counts(run(job)) == {"Scanned": 22, "NoTransferNeeded": 18, "Unsupported": 4}
