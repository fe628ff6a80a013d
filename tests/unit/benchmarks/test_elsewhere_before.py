"""Weights to compare with, from a file and from the history of a small repository made here."""

import subprocess

import pytest

from benchmarks.elsewhere.before import weights_before


def git(folder, *words):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    for name, content in (("w.safetensors", b"tensors\x00\xff"), ("w.json", b"{}")):
        (folder / name).write_bytes(content)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "weights")
    commit = git(folder, "rev-parse", "HEAD")
    git(folder, "rm", "-q", "w.safetensors", "w.json")
    git(folder, "commit", "-qm", "gone")
    return folder, commit


def test_weights_and_card_come_from_the_history_of_git(repository, tmp_path):
    folder, commit = repository
    found = weights_before(f"{commit}:w.safetensors", tmp_path, folder)
    assert found.read_bytes() == b"tensors\x00\xff" and found.with_suffix(".json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["HEAD:w.safetensors", "0000000:w.safetensors", "--output=x:w.safetensors"])
def test_what_the_history_lacks_is_said_and_not_there(name, repository, tmp_path, capsys):
    assert not weights_before(name, tmp_path, repository[0]).exists()
    assert f"{name}: not in the history here" in capsys.readouterr().err
    assert not (repository[0] / "x").exists()


def test_a_file_is_taken_as_it_is(tmp_path, capsys):
    (tmp_path / "w.safetensors").touch()
    assert weights_before(str(tmp_path / "w.safetensors"), tmp_path) == tmp_path / "w.safetensors"
    assert not weights_before(str(tmp_path / "none.safetensors"), tmp_path).exists()
    assert not capsys.readouterr().err
