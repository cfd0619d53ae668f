"""The git source on repositories that are damaged, odd, or meant to do harm: nothing is run, nothing is lost.

Where a repository tries to have a program run, git itself is first seen to run it, so that the trap is known to work.
"""

import hashlib
import os
import random
import tracemalloc

import pytest

from starsmith.document import content_id
from starsmith.errors import StarsmithError
from starsmith.settings import CollectSettings
from starsmith.sources import PathRange
from starsmith.sources.git import GitSource

FIRST_COMMIT = 1_700_000_000_000_000


# ---- programs a repository names


def test_a_promisor_remote_helper_is_not_run(workshop, canary, read):
    folder = workshop.repository("r", {"here": b"1\n", "gone": b"2\n"})
    gone = workshop.git("rev-parse", "HEAD:gone", cwd=folder).decode().strip()
    (folder / ".git/objects" / gone[:2] / gone[2:]).unlink()
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": f"ext::{canary.program}",
        "remote.origin.promisor": "true",
        "protocol.ext.allow": "always",
    }.items():
        workshop.git("config", key, value, cwd=folder)
    workshop.git("cat-file", "--batch", cwd=folder, stdin=gone.encode() + b"\n", check=False)
    assert canary.sings()
    documents = read(folder)
    assert documents[b"here"].content == b"1\n"
    assert (documents[b"gone"].reason, documents[b"gone"].content_id.hex()) == ("error.read", gone)


def test_no_program_verifies_a_signature(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"1\n"})
    tree = workshop.git("rev-parse", "HEAD^{tree}", cwd=folder).decode().strip()
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n"
    text = f"tree {tree}\nauthor A <> 5 +0000\ncommitter C <> 6 +0000\n{signature}\nx\n"
    workshop.git("update-ref", "HEAD", workshop.write_object(folder, "commit", text.encode()), cwd=folder)
    workshop.git("config", "gpg.program", str(canary.program), cwd=folder)
    workshop.git("config", "log.showSignature", "true", cwd=folder)
    workshop.git("log", cwd=folder)
    assert canary.sings()
    assert read(folder)[b"a"].committed_at == 6_000_000


def test_filters_and_text_conversions_are_not_run(workshop, canary, read):
    attributes = b"* filter=trap diff=trap\n"
    folder = workshop.repository("r", {"a": b"1\n", ".gitattributes": attributes})
    workshop.commit(folder, {"a": b"2\n"})
    (folder / ".git/info/attributes").write_bytes(attributes)
    for key in (
        "filter.trap.clean",
        "filter.trap.smudge",
        "filter.trap.process",
        "diff.trap.textconv",
        "diff.external",
    ):
        workshop.git("config", key, str(canary.program), cwd=folder)
    workshop.git("cat-file", "--textconv", "HEAD:a", cwd=folder, check=False)
    assert canary.sings()
    assert read(folder)[b"a"].content == b"2\n"


def test_hooks_and_monitors_are_not_run(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"1\n"})
    for key, value in {
        "core.fsmonitor": str(canary.program),
        "core.sshCommand": str(canary.program),
        "core.pager": str(canary.program),
        "core.alternateRefsCommand": str(canary.program),
        "alias.cat-file": f"!{canary.program}",
        "credential.helper": str(canary.program),
        "include.path": str(folder / "more"),
    }.items():
        workshop.git("config", key, value, cwd=folder)
    (folder / "more").write_text(f"[core]\n\thooksPath = {folder}/hooks\n")
    for hooks in (folder / ".git/hooks", folder / "hooks"):
        hooks.mkdir(exist_ok=True)
        for name in ("post-index-change", "post-checkout", "reference-transaction", "pre-auto-gc"):
            (hooks / name).unlink(missing_ok=True)
            (hooks / name).symlink_to(canary.program)
    workshop.git("status", cwd=folder, check=False)
    assert canary.sings()
    assert read(folder)[b"a"].content == b"1\n"


def test_the_environment_names_no_program_either(workshop, canary, read, monkeypatch):
    folder = workshop.repository("r", {"a": b"1\n"})
    (workshop.folder / ".gitconfig").write_text(
        f"[core]\n\tfsmonitor = {canary.program}\n[log]\n\tshowSignature = true\n"
    )
    monkeypatch.setenv("HOME", str(workshop.folder))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(canary.program))
    monkeypatch.setenv("GIT_DIR", str(workshop.folder / "nowhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(workshop.folder / "nowhere"))
    monkeypatch.setenv("GIT_TRACE", str(canary.trace))
    assert read(folder)[b"a"].content == b"1\n"


# ---- repositories that lead elsewhere


@pytest.fixture
def victim(workshop):
    """A repository whose contents nobody meant to give away."""
    return workshop.repository("victim", {"secret": b"secret\n"})


def test_alternates_are_refused(workshop, canary, describe, victim):
    for name in ("alternates", "http-alternates"):
        folder = workshop.repository(name, {"a": b"1\n"})
        (folder / ".git/objects/info" / name).write_text(f"{victim}/.git/objects\n")
        assert name in describe(folder).error
        assert describe(folder).documents == 0


@pytest.mark.parametrize("place", ["objects", "objects/pack", "objects/info", "objects/pack/x.pack", "objects/ab"])
def test_a_symbolic_link_in_the_object_store_is_refused(workshop, canary, describe, victim, place):
    folder = workshop.repository("r", {"a": b"1\n"})
    path = folder / ".git" / place
    if path.exists():
        os.rename(path, folder / "moved")
    path.symlink_to(victim / ".git/objects", target_is_directory=True)
    assert "symbolic link" in describe(folder).error


def test_a_pipe_in_the_object_store_is_not_waited_for(workshop, canary, describe):
    folder = workshop.repository("r", {"a": b"1\n"})
    os.mkfifo(folder / ".git/objects/pack/x.idx")
    assert "special file" in describe(folder).error


@pytest.mark.parametrize("name", ["HEAD", "config", "packed-refs", "shallow", "refs/heads/main"])
def test_files_that_are_pipes_or_links_are_not_read(workshop, canary, describe, victim, name):
    folder = workshop.repository("r")
    path = folder / ".git" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert describe(folder).error is not None
    path.unlink()
    path.symlink_to(victim / ".git" / name)
    assert describe(folder).error is not None


def test_a_ref_that_climbs_out_is_not_followed(workshop, canary, describe, victim):
    folder = workshop.repository("r")
    for target in ("refs/heads/../../../victim/.git/refs/heads/main", "/etc/passwd", "refs/heads/a\tb", "HEAD"):
        (folder / ".git/HEAD").write_text(f"ref: {target}\n")
        assert describe(folder).error == "its HEAD is neither a branch nor a revision"


def test_a_git_file_that_points_elsewhere_is_refused(workshop, canary, describe, victim):
    workshop.git("worktree", "add", "--quiet", "--detach", "../linked", cwd=victim)
    assert "points elsewhere" in describe(workshop.folder / "linked").error
    os.unlink(workshop.folder / "linked/.git")
    (workshop.folder / "linked/.git").symlink_to(victim / ".git")
    assert "symbolic link" in describe(workshop.folder / "linked").error


def test_reftables_are_refused(workshop, canary, describe):
    folder = workshop.repository("r", {"a": b"1\n"})
    (folder / ".git/reftable").mkdir()
    assert "reftable" in describe(folder).error


def test_replaced_and_grafted_objects_are_not_believed(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"real\n", "b": b"other\n"})
    workshop.git("replace", "HEAD:a", "HEAD:b", cwd=folder)
    assert workshop.git("cat-file", "blob", "HEAD:a", cwd=folder) == b"other\n"
    assert read(folder)[b"a"].content == b"real\n"


# ---- damage


def test_empty_repository(workshop, canary, describe):
    origin = describe(workshop.repository("r"))
    assert (origin.error, origin.documents, origin.url) == ("empty repository", 0, "local:" + origin.repo_name)
    assert list(GitSource(path=workshop.folder / "r").read(origin, PathRange(), CollectSettings())) == []


def test_an_empty_tree_is_no_error(workshop, canary, read):
    folder = workshop.repository("r")
    workshop.commit_index(folder)
    assert read(folder) == {}


def test_a_head_that_dangles_for_good(workshop, canary, describe):
    folder = workshop.repository("r", {"a": b"1\n"})
    workshop.git("branch", "--move", "other", cwd=folder)
    (folder / ".git/HEAD").write_text("ref: refs/heads/gone\n")
    assert "names refs/heads/gone, which does not exist" in describe(folder).error
    (folder / ".git/HEAD").write_text("0" * 40)
    assert "missing or damaged" in describe(folder).error
    (folder / ".git/HEAD").write_text("nonsense")
    assert describe(folder).error is not None


def _packed(workshop, count=60):
    """A repository in one pack, its files too random to be deltas of each other."""
    noise = random.Random(1)
    folder = workshop.repository("r", {f"f{i:02}": noise.randbytes(2000) for i in range(count)})
    workshop.git("repack", "-a", "-d", "--quiet", cwd=folder)
    (pack,) = (folder / ".git/objects/pack").glob("*.pack")
    pack.chmod(0o644)
    return folder, pack


def test_damage_in_a_pack_costs_the_damaged_contents_only(workshop, canary, read):
    folder, pack = _packed(workshop)
    intact = read(folder)
    data = bytearray(pack.read_bytes())
    damaged = {b"f05", b"f06", b"f30", b"f59"}
    for path in damaged:
        data[data.index(intact[path].content[500:600]) + 50] ^= 0xFF
    pack.write_bytes(data)
    documents = read(folder)
    assert {path for path, document in documents.items() if document.reason == "error.read"} == damaged
    assert {path: document for path, document in documents.items() if path not in damaged} == {
        path: document for path, document in intact.items() if path not in damaged
    }
    assert documents[b"f05"].content_id == intact[b"f05"].content_id


def test_any_flipped_byte_is_recorded_and_ends_nothing(workshop, canary, describe):
    folder, pack = _packed(workshop, count=8)
    source, settings = GitSource(path=folder), CollectSettings()
    intact = list(source.read(describe(folder), PathRange(), settings))
    whole, noise = pack.read_bytes(), random.Random(2)
    for _ in range(25):
        data = bytearray(whole)
        data[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
        pack.write_bytes(data)
        origin = describe(folder)
        if origin.error is None:
            documents = list(source.read(origin, PathRange(), settings))
            assert [document.path for document in documents] == [document.path for document in intact]
            contents = [(document.content or b"") for document in documents]
            assert all(ours in (b"", before.content) for ours, before in zip(contents, intact, strict=True))


def test_truncated_pack(workshop, canary, describe):
    folder, pack = _packed(workshop)
    for length in (0, 10, pack.stat().st_size // 2, pack.stat().st_size - 1):
        os.truncate(pack, length)
        assert describe(folder).error is not None
        assert str(workshop.folder) not in describe(folder).error


def test_a_content_that_does_not_hash_to_its_name(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"1\n", "b": b"2\n", "c": b"3\n"})
    names = [workshop.git("rev-parse", f"HEAD:{path}", cwd=folder).decode().strip() for path in "bc"]
    b, c = (folder / ".git/objects" / name[:2] / name[2:] for name in names)
    os.replace(c, b)
    documents = read(folder)
    assert documents[b"a"].content == b"1\n"
    assert documents[b"b"].reason == documents[b"c"].reason == "error.read"


def test_a_missing_folder_is_the_origins_error(workshop, canary, describe):
    folder = workshop.repository("r", {"a/b/c": b"1\n", "d": b"1\n"})
    tree = workshop.git("rev-parse", "HEAD:a", cwd=folder).decode().strip()
    (folder / ".git/objects" / tree[:2] / tree[2:]).unlink()
    assert "a folder of its tree is missing" in describe(folder).error


def test_a_commit_that_does_not_hash_to_its_name(workshop, canary, describe):
    folder = workshop.repository("r", {"a": b"1\n"})
    old = workshop.git("rev-parse", "HEAD", cwd=folder).decode().strip()
    new = workshop.commit(folder, {"a": b"2\n"})
    objects = folder / ".git/objects"
    os.replace(objects / old[:2] / old[2:], objects / new[:2] / new[2:])
    assert describe(folder).error is not None


def test_a_broken_history_loses_times_only(workshop, canary, read):
    folder = workshop.repository("r", {"old": b"1\n", "new": b"1\n"})
    old = workshop.git("rev-parse", "HEAD", cwd=folder).decode().strip()
    workshop.commit(folder, {"new": b"2\n"})
    (folder / ".git/objects" / old[:2] / old[2:]).unlink()
    documents = read(folder)
    assert [document.content for document in documents.values()] == [b"2\n", b"1\n"]
    assert documents[b"old"].committed_at is None


def test_a_folder_that_may_not_be_looked_into(workshop, canary, monkeypatch):
    workshop.repository("all/good", {"a": b"1\n"})
    (workshop.folder / "all/shut").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    source = GitSource(path=workshop.folder / "all")
    good, shut = source.locate()
    assert source.describe(good, shard_documents=9).error is None
    assert source.describe(shut, shard_documents=9).error is not None


# ---- odd trees


def test_odd_paths_are_kept_as_they_are(workshop, canary, read):
    folder = workshop.repository("r")
    one = workshop.write_object(folder, "blob", b"1\n")
    inner = workshop.write_object(folder, "tree", b"100644 x\0" + bytes.fromhex(one))
    names = [b"\nnew\nline", b"", b" ", b'"quoted"', b"..", b".git", b"a\tb", b"back\\slash", b"caf\xe9", b"x" * 5000]
    entries = [(0o100644, name, one) for name in names if name not in (b"", b"..")]
    workshop.tree(folder, sorted([*entries, (0o40000, b"..", inner), (0o100755, b"/etc/passwd", one)]))
    documents = read(folder)
    expected = {name for name in names if name not in (b"", b"..")} | {b"../x", b"/etc/passwd"}
    assert set(documents) == expected
    assert {document.content for document in documents.values()} == {b"1\n"}


def test_a_path_named_twice_is_one_document_that_is_left_out(workshop, canary, read):
    folder = workshop.repository("r")
    one, two = (workshop.write_object(folder, "blob", content) for content in (b"1\n", b"2\n"))
    workshop.tree(folder, [(0o100644, b"a", one), (0o100644, b"a", two), (0o100644, b"b", one)])
    documents = read(folder)
    assert [document.reason for document in documents.values()] == ["error.read", None]


def test_a_file_that_is_a_tree(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"1\n"})
    one = workshop.write_object(folder, "blob", b"1\n")
    tree = workshop.git("rev-parse", "HEAD^{tree}", cwd=folder).decode().strip()
    workshop.tree(folder, [(0o100644, b"a", tree), (0o100644, b"b", one)])
    documents = read(folder)
    assert [document.reason for document in documents.values()] == ["error.read", None]


def test_a_tree_that_multiplies_is_refused(workshop, canary, describe, monkeypatch):
    monkeypatch.setattr("starsmith.sources.git_objects._MOST_LISTING_BYTES", 1_000_000)
    folder = workshop.repository("r")
    identifier, mode = workshop.write_object(folder, "blob", b"1\n"), 0o100644
    for _ in range(8):
        identifier = workshop.tree(folder, [(mode, b"%d" % i, identifier) for i in range(10)])
        mode = 0o40000
    assert "larger than any real one" in describe(folder).error


def test_submodules_and_symbolic_links(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"1\n"})
    (folder / "link").symlink_to("/etc/passwd")
    workshop.git("update-index", "--add", "--cacheinfo", f"160000,{'12' * 20},module", cwd=folder)
    workshop.git("add", "link", cwd=folder)
    workshop.commit_index(folder)
    documents = read(folder)
    module, link = documents[b"module"], documents[b"link"]
    assert (module.reason, module.mode, module.length, module.content_id) == ("source.submodule", 0o160000, 0, None)
    assert module.committed_at == link.committed_at == FIRST_COMMIT + 3_600_000_000
    assert (link.reason, link.mode, link.length) == ("source.symlink", 0o120000, 11)
    taken = read(folder, symlinks=True)[b"link"]
    assert (taken.reason, taken.content) == (None, b"/etc/passwd")
    assert link.content_id == taken.content_id == content_id(b"/etc/passwd")


# ---- sizes


def test_large_contents_are_left_out_and_never_held(workshop, canary, read):
    big = random.Random(3).randbytes(1_000_000) * 50
    folder = workshop.repository("r", {"big": big, "edge": b"x" * 1000, "small": b"x" * 999})
    identifier, length = content_id(big), len(big)
    del big
    tracemalloc.start()
    documents = read(folder, max_bytes=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [document.reason for document in documents.values()] == ["source.too_large", "source.too_large", None]
    assert (documents[b"big"].length, documents[b"big"].content_id) == (length, identifier)
    assert peak < 5_000_000
    assert read(folder, max_bytes=length + 1)[b"big"].content_id == identifier


def test_a_hundred_thousand_tiny_files(workshop, canary, read):
    folder = workshop.repository("r")
    lines = [b"commit refs/heads/main\ncommitter C <> 5 +0000\ndata 0\n"]
    lines += [b"M 100644 inline d%d/f%d\ndata %d\n%d\n" % (i // 400, i, len(b"%d" % i), i) for i in range(100_000)]
    workshop.git("fast-import", "--quiet", cwd=folder, stdin=b"".join(lines))
    documents = read(folder)
    assert len(documents) == 100_000
    assert all(document.content == path.rpartition(b"f")[2] for path, document in documents.items())
    assert {document.committed_at for document in documents.values()} == {5_000_000}


# ---- other formats


def test_sha256_repositories(workshop, canary, describe, read):
    folder = workshop.repository("r", {"a": b"1\n", "d/b": b"2\n"}, "--object-format=sha256")
    (folder / "link").symlink_to("a")
    workshop.commit(folder, {"b": b"3\n"})
    origin = describe(folder)
    assert (origin.revision_id, origin.directory_id, origin.documents) == (None, None, 4)
    documents = read(folder)
    assert documents[b"d/b"].content == b"2\n"
    assert documents[b"d/b"].content_id == content_id(b"2\n")
    assert documents[b"d/b"].committed_at == FIRST_COMMIT
    assert documents[b"link"].content_id is None


def test_sha256_contents_are_verified_too(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"1\n", "b": b"2\n"}, "--object-format=sha256")
    a, b = (hashlib.sha256(b"blob 2\0" + content).hexdigest() for content in (b"1\n", b"2\n"))
    objects = folder / ".git/objects"
    os.replace(objects / a[:2] / a[2:], objects / b[:2] / b[2:])
    assert {document.reason for document in read(folder).values()} == {"error.read"}


def test_a_shallow_file_full_of_nonsense(workshop, canary, read):
    folder = workshop.repository("r", {"a": b"1\n"})
    (folder / ".git/shallow").write_bytes(b"\xff\xfe nonsense\n" + b"1" * 39 + b"\n" + b"2" * 40 + b"\n")
    assert read(folder)[b"a"].committed_at == FIRST_COMMIT


def test_places_with_odd_names(workshop, canary, read):
    for name in ('quo"te', "new\nline", "back\\slash", os.fsdecode(b"caf\xe9"), "#hash", "colon:x"):
        folder = workshop.repository(name, {"a": b"1\n"})
        assert read(folder)[b"a"].content == b"1\n"


def test_nothing_is_left_behind(workshop, canary, read, describe, monkeypatch):
    folder = workshop.repository("r", {"a": b"1\n", "b": b"2\n"})
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (workshop.folder / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(workshop.folder / "temporary"))
    read(folder)
    documents = GitSource(path=folder).read(describe(folder), PathRange(), CollectSettings())
    next(documents)
    documents.close()
    assert list((workshop.folder / "temporary").iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_fault_of_this_machine_is_not_blamed_on_the_repository(workshop, canary, describe, monkeypatch):
    folder = workshop.repository("r", {"a": b"1\n"})
    monkeypatch.setattr("tempfile.tempdir", str(workshop.folder / "missing"))
    with pytest.raises(StarsmithError, match="TMPDIR"):
        describe(folder)


def test_what_would_fill_the_memory_of_git_is_one_documents_error(workshop, canary, read, monkeypatch):
    folder = workshop.repository("r", {"a": b"1\n", "big": random.Random(4).randbytes(30_000_000), "c": b"3\n"})
    workshop.git("repack", "-a", "-d", "--quiet", cwd=folder)
    monkeypatch.setattr("starsmith.sources.git_objects._MOST_GIT_MEMORY", 20_000_000)
    documents = read(folder, max_bytes=40_000_000)
    assert [document.reason for document in documents.values()] == [None, "error.read", None]
