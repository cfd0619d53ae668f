"""The git source on sound repositories: what is found, what it is called, and that the ids are the world's."""

import os
import pickle
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swh.model.from_disk import Content, Directory
from swh.model.git_objects import revision_git_object
from swh.model.hashutil import hash_to_bytes
from swh.model.model import Person, Revision, RevisionType, Timestamp, TimestampWithTimezone

from starsmith.document import origin_id, swhid
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings, SourceSettings
from starsmith.sources import PathRange, cut_points, open_source
from starsmith.sources.git import GitSource
from starsmith.sources.git_remote import config_values, network_url, repository_name

SECOND = 1_000_000
FIRST_COMMIT_SECOND = 1_700_000_000


def test_documents_of_a_repository(workshop, describe, read):
    folder = workshop.repository("team/tool", {"a.py": b"x = 1\n", "b/c.py": b"", "b.py": b"\xff\xfe"})
    origin = describe(folder)
    assert (origin.source, origin.url, origin.owner, origin.name) == ("git", "local:team/tool", "team", "tool")
    assert (origin.branch_name, origin.documents, origin.cuts) == ("refs/heads/main", 3, ())
    assert origin.revision_date == origin.committer_date == FIRST_COMMIT_SECOND * SECOND
    documents = read(folder)
    assert {path: document.content for path, document in documents.items()} == {
        b"a.py": b"x = 1\n",
        b"b.py": b"\xff\xfe",
        b"b/c.py": b"",
    }
    assert documents[b"a.py"].length == 6
    assert documents[b"a.py"].mode == 0o100644
    assert documents[b"a.py"].committed_at == FIRST_COMMIT_SECOND * SECOND


def test_ids_are_those_of_software_heritage(workshop, describe, read):
    files = {"a.py": b"x\n", "deep/er/b.sh": b"#!/bin/sh\n", "deep/c": b"\0" * 1000, b"caf\xe9": b"e"}
    folder = workshop.repository("r", files)
    (folder / "a.py").chmod(0o755)
    (folder / "link").symlink_to("deep/c")
    workshop.commit(folder, {})
    origin = describe(folder)
    for path, document in read(folder, symlinks=True).items():
        on_disk = Content.from_file(path=os.path.join(os.fsencode(folder), path), max_content_length=None)
        assert str(on_disk.swhid()) == swhid("cnt", document.content_id)
        assert document.mode == on_disk.data["perms"]
    os.rename(folder / ".git", folder.parent / "bare.git")
    assert str(Directory.from_disk(path=os.fsencode(folder), max_content_length=None).swhid()) == swhid(
        "dir", origin.directory_id
    )
    parent = workshop.git("rev-parse", "HEAD~1", cwd=folder.parent / "bare.git").decode().strip()
    revision = Revision(
        message=b"x\n",
        author=Person.from_fullname(b"A <a@example.org>"),
        committer=Person.from_fullname(b"C <c@example.org>"),
        date=TimestampWithTimezone.from_numeric_offset(_seconds(origin.revision_date), -90, False),
        committer_date=TimestampWithTimezone.from_numeric_offset(_seconds(origin.committer_date), 120, False),
        type=RevisionType.GIT,
        directory=origin.directory_id,
        synthetic=False,
        parents=(hash_to_bytes(parent),),
    )
    assert revision_git_object(revision)
    assert str(revision.swhid()) == swhid("rev", origin.revision_id)


def _seconds(microseconds):
    return Timestamp(seconds=microseconds // SECOND, microseconds=0)


@pytest.mark.parametrize("branch", ["master", "main"])
def test_a_dangling_head_gives_way_to_master_then_main(workshop, describe, branch):
    folder = workshop.repository("r", {"a": b"1"})
    workshop.git("branch", "--move", branch, cwd=folder)
    workshop.git("branch", "aaa", cwd=folder)
    (folder / ".git/HEAD").write_text("ref: refs/heads/gone\n")
    assert describe(folder).branch_name == f"refs/heads/{branch}"


def test_head_decides_over_master_and_main(workshop, describe):
    folder = workshop.repository("r", {"a": b"1"})
    workshop.git("checkout", "--quiet", "-b", "feature/x", cwd=folder)
    revision = workshop.commit(folder, {"a": b"2"})
    assert (describe(folder).branch_name, describe(folder).revision_id.hex()) == ("refs/heads/feature/x", revision)


def test_a_detached_head_has_no_branch(workshop, describe):
    folder = workshop.repository("r", {"a": b"1"})
    first = describe(folder).revision_id.hex()
    workshop.commit(folder, {"a": b"2"})
    workshop.git("checkout", "--quiet", "--detach", "HEAD~1", cwd=folder)
    assert (describe(folder).branch_name, describe(folder).revision_id.hex()) == (None, first)


def test_loose_refs_win_over_packed_ones(workshop, describe):
    folder = workshop.repository("r", {"a": b"1"})
    workshop.git("pack-refs", "--all", cwd=folder)
    assert not (folder / ".git/refs/heads/main").exists()
    packed = describe(folder).revision_id
    revision = workshop.commit(folder, {"a": b"2"})
    assert describe(folder).revision_id.hex() == revision != packed.hex()


def test_a_head_that_names_a_tag_means_its_commit(workshop, describe):
    folder = workshop.repository("r", {"a": b"1"})
    workshop.git("tag", "--annotate", "--message=t", "t", cwd=folder)
    tag = workshop.git("rev-parse", "refs/tags/t", cwd=folder).decode()
    (folder / ".git/refs/heads/main").write_text(tag)
    assert describe(folder).documents == 1


def test_an_old_head_that_is_a_symbolic_link(workshop, describe):
    folder = workshop.repository("r", {"a": b"1"})
    (folder / ".git/HEAD").unlink()
    (folder / ".git/HEAD").symlink_to("refs/heads/main")
    assert describe(folder).branch_name == "refs/heads/main"


def test_bare_and_packed_as_it_comes(workshop, read):
    folder = workshop.repository("r", {f"f{i}": b"%d\n" % i * 100 for i in range(50)})
    workshop.git("clone", "--quiet", "--bare", "r", "bare.git", cwd=folder.parent)
    workshop.git("repack", "-a", "-d", "--quiet", cwd=folder.parent / "bare.git")
    assert read(folder.parent / "bare.git") == read(folder)


def test_a_range_of_paths_is_what_lies_in_it(workshop, describe, read):
    names = [f"{folder}/{i:02}" for folder in "abc" for i in range(20)] + ["b", "b.c", "b-c"]
    folder = workshop.repository("r", {name.replace("b/", "bb/"): name.encode() for name in names})
    everything = read(folder)
    source = GitSource(path=folder)
    origin = source.describe(str(folder), shard_documents=10)
    assert 1 <= len(origin.cuts) <= 20
    assert set(origin.cuts) < set(everything)
    parts = [PathRange(start=a, stop=b) for a, b in zip([None, *origin.cuts], [*origin.cuts, None], strict=True)]
    read_in_parts = [list(source.read(origin, part, CollectSettings())) for part in parts]
    assert all(read_in_parts)
    assert [document for part in read_in_parts for document in part] == list(everything.values())


def test_state_says_when_documents_may_differ(workshop, describe):
    folder = workshop.repository("r", {"a": b"1"})
    state = describe(folder).state
    assert describe(folder).state == state != describe(folder, commit_times=False).state
    workshop.git("repack", "-a", "-d", "--quiet", cwd=folder)
    os.rename(folder, folder.parent / "elsewhere")
    (folder.parent / "again").mkdir()
    os.rename(folder.parent / "elsewhere", folder)
    assert describe(folder).state == state
    workshop.commit(folder, {})
    assert describe(folder).state != state


def test_a_repository_that_changed_in_between_is_not_read(workshop, describe):
    folder = workshop.repository("r", {"a": b"1"})
    origin = describe(folder)
    workshop.commit(folder, {"a": b"2"})
    with pytest.raises(StarsmithError, match="changed while it was read"):
        list(GitSource(path=folder).read(origin, PathRange(), CollectSettings()))


def test_the_source_can_be_sent_to_another_process(workshop):
    source = open_source(SourceSettings(path="r", commit_times=False), workshop.folder)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 (our own bytes)
    assert copy == source == GitSource(path=workshop.folder / "r", commit_times=False)


# ---- times


def test_the_time_of_a_path_is_that_of_the_first_parent_commit_that_changed_it(workshop, read):
    folder = workshop.repository("r", {"a": b"1", "b": b"1", "c": b"1", "d": b"1"})  # commit 0
    workshop.commit(folder, {"b": b"2"})  # 1
    workshop.git("checkout", "--quiet", "-b", "side", cwd=folder)
    workshop.commit(folder, {"c": b"2"})  # 2
    workshop.git("checkout", "--quiet", "main", cwd=folder)
    workshop.commit(folder, {"e": b"1"})  # 3
    workshop.commits = 10
    workshop.git("merge", "--quiet", "--no-ff", "--message=m", "side", cwd=folder)  # 10
    workshop.commits = 11
    workshop.git("rm", "--quiet", "d", cwd=folder)
    workshop.commit_index(folder)  # 11
    workshop.commit(folder, {"d": b"1"})  # 12
    hours = {
        path: (document.committed_at // SECOND - FIRST_COMMIT_SECOND) // 3600 for path, document in read(folder).items()
    }
    assert hours == {b"a": 0, b"b": 1, b"c": 10, b"d": 12, b"e": 3}


def test_a_path_that_looks_like_a_commit_line_is_a_path(workshop, read):
    name = b"a" * 40 + b" 1"
    folder = workshop.repository("r", {name: b"1", b"A": b"1", b"\nM": b"1"})
    assert {document.committed_at for document in read(folder).values()} == {FIRST_COMMIT_SECOND * SECOND}


def test_times_can_be_left_out(workshop, read):
    folder = workshop.repository("r", {"a": b"1"})
    assert read(folder, commit_times=False)[b"a"].committed_at is None


def test_behind_the_edge_of_a_shallow_clone_no_time_is_known(workshop, read):
    folder = workshop.repository("r", {"old": b"1", "new": b"1"})
    workshop.commit(folder, {"new": b"2"})
    workshop.commit(folder, {"new": b"3"})
    workshop.git("clone", "--quiet", "--depth=2", folder.as_uri(), "clone", cwd=folder.parent)
    documents = read(folder.parent / "clone")
    assert documents[b"old"].content == b"1"
    assert documents[b"old"].committed_at is None
    assert documents[b"new"].committed_at == (FIRST_COMMIT_SECOND + 2 * 3600) * SECOND


def test_an_unlikely_date_is_no_date(workshop, describe, read):
    folder = workshop.repository("r", {"a": b"1"})
    tree = workshop.git("rev-parse", "HEAD^{tree}", cwd=folder).decode().strip()
    text = f"tree {tree}\nauthor A 12 <> 99999999999999 +0000\ncommitter C <> 5\n\nauthor A <> 7 +0000\n"
    revision = workshop.write_object(folder, "commit", text.encode())
    workshop.git("update-ref", "HEAD", revision, cwd=folder)
    assert (describe(folder).revision_date, describe(folder).committer_date) == (None, None)
    assert read(folder)[b"a"].content == b"1"


# ---- finding


def test_a_folder_of_repositories_is_searched(workshop):
    tool = workshop.repository("deep/er/tool", {"a": b"1"})
    workshop.repository("deep/er/tool/inner", {"a": b"1"})
    workshop.git("clone", "--quiet", "--bare", str(tool), "deep/b.git", cwd=workshop.folder)
    (workshop.folder / "deep/empty").mkdir()
    (workshop.folder / "deep/link").symlink_to(workshop.folder / "deep/er")
    (workshop.folder / "deep/loop").symlink_to(workshop.folder / "deep")
    source = GitSource(path=workshop.folder / "deep")
    assert source.locate() == [str(workshop.folder / "deep/b.git"), str(tool)]
    names = [source.describe(location, shard_documents=9).repo_name for location in source.locate()]
    assert names == ["deep/b", "er/tool"]


def test_a_list_of_repositories(workshop):
    one, two = workshop.repository("one", {"a": b"1"}), workshop.repository("some/two", {"a": b"1"})
    (workshop.folder / "list.txt").write_text(f"# mine\n{two}\n\none\r\nsome\n")
    assert GitSource(path=workshop.folder / "list.txt").locate() == [str(one), str(two)]


def test_locations_do_not_depend_on_the_working_directory(workshop, monkeypatch):
    folder = workshop.repository("team/tool", {"a": b"1"})
    monkeypatch.chdir(folder)
    source = GitSource(path=Path("."))
    (location,) = source.locate()
    monkeypatch.chdir("/")
    assert source.describe(location, shard_documents=9).repo_name == "team/tool"


@pytest.mark.parametrize(
    ("lines", "message"),
    [("nothing-here\n", "line 1: nothing-here"), ("\nempty\n", "line 2: empty holds no"), ("# x\n", "lists no")],
)
def test_a_list_that_leads_nowhere_is_an_error(tmp_path, lines, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(StarsmithError, match=message):
        GitSource(path=tmp_path / "list.txt").locate()


def test_a_path_that_holds_no_repository_is_an_error(tmp_path):
    with pytest.raises(StarsmithError, match="does not exist"):
        GitSource(path=tmp_path / "missing").locate()
    with pytest.raises(StarsmithError, match="holds no git repository"):
        GitSource(path=tmp_path).locate()
    (tmp_path / "binary").write_bytes(b"\0")
    with pytest.raises(StarsmithError, match="neither a folder nor a text file"):
        GitSource(path=tmp_path / "binary").locate()
    with pytest.raises(StarsmithError, match="has no path"):
        open_source(SourceSettings(), tmp_path)


# ---- names


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r"),
        ("https://user:secret@github.com/o/r", "https://github.com/o/r"),
        ("https://secret@GitHub.com:443/o/r.git/?token=secret#secret", "https://github.com/o/r"),
        ("git@github.com:o/r.git", "https://github.com/o/r"),
        ("github.com:o/r", "https://github.com/o/r"),
        ("ssh://git@gitlab.example.org:2222/g/sub/r.git", "https://gitlab.example.org/g/sub/r"),
        ("git://git.example.org/r.git", "https://git.example.org/r"),
        ("http://example.org:8080/o/r", "https://example.org:8080/o/r"),
        ("ssh://[2001:db8::1]/o/r", "https://[2001:db8::1]/o/r"),
        ("https://git.sr.ht/~o/r", "https://git.sr.ht/~o/r"),
        ("git@example.org:o/r.git.git", "https://example.org/o/r"),
        ("git@example.org:o/r?x", None),
        ("https://bücher.example/o/r", None),
        ("https://user:se/cret@github.com/o/r", None),
        ("https://secret/x@github.com/o/r", None),
        ("https://user:s@e@github.com/o/../r", None),
        ("ext::sh -c true", None),
        ("ext::https://github.com/o/r", None),
        ("/home/me/r", None),
        ("../r", None),
        ("C:/r", None),
        ("file:///home/me/r", None),
        ("https:///o/r", None),
        ("https://github.com/", None),
        ("https://github.com/.git", None),
        ("https://[oops/o/r", None),
        ("", None),
    ],
)
def test_urls_of_remotes(remote, url):
    assert network_url(remote) == url


@given(st.text(alphabet="abz09@:/.#?%~-\\", max_size=30))
def test_a_password_never_becomes_part_of_a_name(password):
    for remote in (f"https://me:SECRET{password}SECRET@example.org/o/r", f"me:SECRET{password}SECRET@example.org:o/r"):
        assert "SECRET" not in (network_url(remote) or "")


@given(st.text())
def test_normalising_is_idempotent_and_total(text):
    for remote in (text, f"https://{text}", f"git@example.org:{text}"):
        url = network_url(remote)
        assert url is None or (url == network_url(url) and origin_id(url))


def test_names_come_from_the_remote_or_the_folders(workshop, describe):
    folder = workshop.repository("team/tool", {"a": b"1"})
    workshop.git("remote", "add", "upstream", "https://github.com/no/no", cwd=folder)
    assert describe(folder).repo_name == "team/tool"
    workshop.git("remote", "add", "origin", "https://me:pw@gitlab.com/group/sub/name.git", cwd=folder)
    origin = describe(folder)
    assert (origin.url, origin.repo_name) == ("https://gitlab.com/group/sub/name", "sub/name")
    assert repository_name("", folder / ".git") == repository_name("", folder)


def test_no_machine_path_is_in_a_name(workshop, describe):
    folder = workshop.repository("team/tool", {"a": b"1"})
    workshop.git("remote", "add", "origin", str(workshop.folder / "x/y"), cwd=folder)
    assert describe(folder).url == "local:team/tool"


def test_folder_names_need_not_be_utf8():
    name = repository_name("", Path(os.fsdecode(b"/x/caf\xe9/r")))
    assert (name.url, name.owner) == ("local:caf\\xe9/r", "caf\\xe9")


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=3
    )
)
def test_values_are_read_as_git_reads_them(tmp_path_factory, values):
    file = tmp_path_factory.getbasetemp() / "config"
    file.write_text("")
    for value in values:
        subprocess.run(["git", "config", "-f", file, "--add", "remote.origin.url", value], check=True)
    expected = subprocess.check_output(["git", "config", "-f", file, "-z", "--get-all", "remote.origin.url"])
    found = config_values(file.read_bytes().decode(), section="remote", subsection="origin", key="url")
    assert list(found) == expected.decode().split("\0")[:-1]


def test_odd_spellings_of_a_config():
    config = '[Remote "origin"] URL = "a b" ; c\n[remote "Origin"]\nurl=no\n[remote "or\\igin"]\nurl = x\\\ny#z\n'
    assert list(config_values(config, section="remote", subsection="origin", key="url")) == ["a b", "xy"]


# ---- cuts


@given(st.sets(st.binary(min_size=1, max_size=4), min_size=1, max_size=60), st.integers(1, 20))
def test_cuts_depend_on_their_own_path_only(paths, shard_documents):
    cuts = cut_points(paths, shard_documents=shard_documents)
    assert list(cuts) == sorted(cuts)
    assert set(cuts) <= paths - {min(paths)}
    fewer = paths - {max(paths)}
    if len(fewer) >= shard_documents:
        assert cut_points(fewer, shard_documents=shard_documents) == tuple(cut for cut in cuts if cut in fewer)


def test_cuts_are_as_frequent_as_asked():
    cuts = cut_points((b"%d" % i for i in range(20_000)), shard_documents=100)
    assert 150 < len(cuts) < 250
    assert cut_points([b"a", b"b"], shard_documents=1) == (b"b",)
