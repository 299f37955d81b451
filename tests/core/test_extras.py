"""What happens where an extra is not installed."""

import pytest

from fuseid.core.errors import MissingPackage
from fuseid.core.extras import EXTRA_OF_SCHEME, importing_file_system, install


@pytest.mark.parametrize("scheme", EXTRA_OF_SCHEME)
def test_the_line_names_the_extra(scheme):
    with pytest.raises(MissingPackage) as raised, importing_file_system(scheme):
        raise ImportError("Install s3fs to access S3")
    assert str(raised.value) == f"{scheme}:// cannot be opened here: {install(EXTRA_OF_SCHEME[scheme])}"


def test_other_imports_that_fail_stay_as_they_are():
    with pytest.raises(ImportError, match="libfoo"), importing_file_system("file"):
        raise ImportError("libfoo")
