import pytest

from zoo.files import replacing, write_text


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    file = tmp_path / "data.txt"
    write_text(file, "old")

    def interrupted_write():
        with replacing(file) as temporary:
            temporary.write_text("half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_is_replaced_and_not_followed(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("theirs")
    link = tmp_path / "link.txt"
    link.symlink_to(outside)
    write_text(link, "ours")
    assert outside.read_text() == "theirs"
    assert link.read_text() == "ours"
    assert not link.is_symlink()


def test_the_temporary_file_keeps_the_suffix_and_the_folder(tmp_path):
    with replacing(tmp_path / "checkpoint.safetensors") as temporary:
        assert temporary.suffix == ".safetensors"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")
