"""Where the authors of a model keep its weights, as data."""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class HubFile:
    """A file in a repository on the Hugging Face Hub.

    Attributes:
        repo: `owner/name`.
        file: Its path in the repository.
        revision: A commit; or a branch, whose newest commit is then looked up and recorded.
    """

    repo: str
    file: str
    revision: str = "main"

    @property
    def page(self) -> str:
        """For people."""
        return f"https://huggingface.co/{self.repo}"


@frozen(kw_only=True)
class ZenodoFile:
    """A file of a record at Zenodo.

    Attributes:
        doi: Of one version of the record, which never changes; not the one of all versions.
        file: Its name in the record.
    """

    doi: str
    file: str

    @property
    def page(self) -> str:
        """For people."""
        return f"https://doi.org/{self.doi}"


@frozen(kw_only=True)
class ByHand:
    """What only a browser can fetch.

    Attributes:
        page: For people.
        files: What the folder `Released.filename` must hold; none where that is a file.
    """

    page: str
    files: tuple[str, ...] = ()


@frozen(kw_only=True)
class Packaged:
    """A folder of the package that announces the model.

    Attributes:
        package: As it is imported.
        files: What the folder `Released.filename` holds, the tensors first.
    """

    package: str
    files: tuple[str, ...]

    @property
    def page(self) -> str:
        """For people."""
        return f"the package {self.package}"


@frozen(kw_only=True)
class Released:
    """A model's released weights.

    Attributes:
        source: Where they are.
        filename: The file's or folder's name in the cache.
        sha256: Of the file, or of a package's first one, in hexadecimal, where it is known.
        note: What a user must know to fetch them by hand.
    """

    source: HubFile | ZenodoFile | ByHand | Packaged
    filename: str = field()
    sha256: str | None = None
    note: str = ""

    @filename.validator
    def _check_filename(self, _: object, value: str) -> None:
        if not value or value in (".", "..") or "/" in value or "\\" in value:
            raise ValueError(f"filename must be one name, not a path: {value!r}")

    @property
    def url(self) -> str:
        """The page where they are."""
        return self.source.page
