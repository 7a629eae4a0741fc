"""A disk that gets full."""


def fill(folder):
    """Leave no block of a disk free."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
