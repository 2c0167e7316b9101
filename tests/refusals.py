"""What tests of bad input share: a command that must fail by one paragraph and leave everything as it was."""

from command_line import edit_metadata, one_paragraph, run


def contents(directory):
    return {path: path.read_bytes() if path.is_file() else None for path in sorted(directory.rglob("*"))}


def fails(place, *arguments, says=()):
    """Run a command that must fail, in one paragraph, and leave everything as it was."""
    before = contents(place)
    one_paragraph(run(*arguments), *says)
    assert contents(place) == before


def nothing(directory):
    return directory / "missing"


def metadata(*path_and_value):
    """Change one field of the metadata document."""
    *path, last, value = path_and_value

    def change(document):
        for name in path:
            document = document[name]
        document[last] = value

    return lambda model: edit_metadata(model, change)


class Evil:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (open, ("ran.txt", "w"))
